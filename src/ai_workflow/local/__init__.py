"""The local Prefect server and the native stack of `make up`."""
