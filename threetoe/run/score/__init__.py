"""Answers beside those that were expected: figures, tables, a picture."""
