"""How the workflow is brought to a machine: the local server, the bootstrap of Prefect, containers and services."""
