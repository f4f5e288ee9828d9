"""The whole stack on one machine, natively: `make up`, `make down`."""
