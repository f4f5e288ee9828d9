"""Durable files: object store, atomic writes, locks, cleanup."""
