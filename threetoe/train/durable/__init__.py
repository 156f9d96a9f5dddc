"""What outlives a session: checkpoints, their mirror, going on from them, running out of memory."""
