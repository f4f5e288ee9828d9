"""Health checks of an installation: each fault with its place, start and remedy."""
