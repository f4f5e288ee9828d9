"""Flow runs on Prefect: stage tasks, result cache, signals, recovery and maintenance."""
