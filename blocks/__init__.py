"""Prefect Blocks: the one catalogue of their names, and how they come to be."""
