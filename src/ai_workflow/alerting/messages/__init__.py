"""Notifications as text: message catalogue, markup, size limits."""
