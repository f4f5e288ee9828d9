"""HTTP/1.1 details shared by the service, the relay and the exporter."""
