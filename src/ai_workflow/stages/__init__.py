"""Stages of the pipelines: plain functions from references to references; the data is in the store."""
