"""Configuration: YAML layers, variables and typed settings."""
