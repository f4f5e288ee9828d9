"""The catalogue of Prefect blocks."""
