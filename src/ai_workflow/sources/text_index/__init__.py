"""Index of delimited text: ranges of whole rows, which are read from the source file instead of a copy."""
