"""Cleaning of loaded partitions: column types, checks of rows, one read of each partition."""
