"""Partitioned tables: Parquet, fingerprints, coercion, deduplication, quarantine, split, column profiles."""
