"""Prefect blocks: types, the catalogue of the project, registration and values."""
