"""Index of delimited text: ranges of rows of a file, which later stages read from the file instead of a copy."""
