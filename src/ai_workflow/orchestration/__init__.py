"""Flow runs on Prefect: flow definition, stage tasks, result cache, signals."""
