"""Metrics of pipelines, models and their store, read off what runs leave behind; nothing is pushed."""
