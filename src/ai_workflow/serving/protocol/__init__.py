"""Requests and responses: Open Inference Protocol, tensors, OpenAPI."""
