"""The stack on one machine: `make up`, `make down`."""
