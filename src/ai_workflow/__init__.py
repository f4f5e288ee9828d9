"""AI pipelines in production on Prefect: staged, traced, resumable, always answering."""
