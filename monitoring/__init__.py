"""What is measured, promised and told: one file of promises, and all that is derived from it."""
