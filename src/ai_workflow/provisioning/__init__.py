"""Set-up of a Prefect server: deployments, automations, blocks, work pool, variables."""
