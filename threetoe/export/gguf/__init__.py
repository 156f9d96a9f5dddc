"""GGUF files, straight from base and adapter."""
