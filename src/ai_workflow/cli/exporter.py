"""`ai-workflow exporter`: metrics of pipelines, models and their store."""

from __future__ import annotations

from pathlib import Path


def exporter(
    *,
    pipeline: Path | None = None,
    store: str | None = None,
    environment: str | None = None,
    host: str = "127.0.0.1",
    port: int = 9109,
) -> None:
    """Export the state of pipelines, models and their store to Prometheus, until SIGTERM or Ctrl-C.

    Args:
        pipeline: YAML file of a pipeline, whose deployment sections (`store:`, `monitoring:`) are used as well.
        store: The store's root, if it is not the one of the configuration.
        environment: Which config/NAME.yaml, and whose models; else AIW_ENVIRONMENT, else development.
        host: Where to listen: 0.0.0.0 for every machine that can reach this one.
        port: Where to listen; 0 takes any that is free.
    """
    from ai_workflow.exporter.exporter import main

    main(pipeline, store, environment, host, port)
