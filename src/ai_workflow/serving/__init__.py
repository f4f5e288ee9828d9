"""The HTTP inference service: one process that answers callers, and one more for each model version."""
