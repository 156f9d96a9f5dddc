"""What is seen of a training while it runs and at its end: callbacks, progress, losses, samples."""
