"""Prefect flows: each file holds the order of the steps of one flow."""
