"""Deployment: audit of packages, container, Kubernetes and systemd files."""
