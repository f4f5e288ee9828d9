"""Prometheus exporter of runs, models and disks, read from the store."""
