"""Model worker processes, fallback policy and stored predictions."""
