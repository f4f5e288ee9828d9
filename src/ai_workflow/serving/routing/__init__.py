"""Fallback chain, served models, their queues and circuit breakers."""
