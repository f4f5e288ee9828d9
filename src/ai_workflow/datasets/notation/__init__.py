"""Notations: numbers, dates and booleans as people write them, and the types that the values of a column suggest."""
