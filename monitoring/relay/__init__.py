"""The alert relay: takes webhooks, formats each once, and tells the chat channels."""
