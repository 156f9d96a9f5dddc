"""The proof: what was written is compared with the run."""
