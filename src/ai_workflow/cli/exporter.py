"""`ai-workflow exporter`: Prometheus metrics of pipelines, models and their store."""

from __future__ import annotations

from ai_workflow.cli.common_options import CommonOptions
from ai_workflow.cli.option_errors import require_port

_DEFAULTS = CommonOptions()


def exporter(*, options: CommonOptions = _DEFAULTS, host: str = "127.0.0.1", port: int = 9109) -> None:
    """Export metrics of pipelines, models and their store to Prometheus, until SIGTERM or Ctrl-C.

    Exports every pipeline of the environment; of a pipeline file only the sections `store:` and `monitoring:` are used.

    Args:
        options: Pipeline, environment and store.
        host: Address to listen on; 0.0.0.0 for all interfaces.
        port: Port to listen on; 0 for any free port.
    """
    require_port(port)
    from ai_workflow.exporter.exporter import main

    main(options.pipeline, options.store, options.environment, host, port)
