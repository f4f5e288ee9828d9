"""Prefect flows: thin files that say in which order stages run."""
