"""Encodings of category columns that a pipeline file declares."""
