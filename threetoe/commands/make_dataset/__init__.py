"""Rows from a book or a topic, asked of a model."""
