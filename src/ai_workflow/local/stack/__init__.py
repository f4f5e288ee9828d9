"""The native stack of `make up`: services, ports, process manager."""
