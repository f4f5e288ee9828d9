"""A pipeline file for a table: options of its source, roles and types of its columns."""
