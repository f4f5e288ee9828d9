"""What the project costs, measured beside what one would do without it."""
