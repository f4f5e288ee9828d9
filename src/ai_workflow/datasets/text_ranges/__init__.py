"""Ranges of rows of a text file: they are read from the file instead of a copy in the store."""
