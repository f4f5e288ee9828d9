"""`python -m monitoring`: the commands of monitoring."""

from __future__ import annotations

import sys

from cyclopts import App

from ai_workflow.errors import AiWorkflowError

app = App(name="python -m monitoring", help=__doc__, version_flags=[])


@app.command
def exporter(
    *, store: str | None = None, environment: str | None = None, host: str = "127.0.0.1", port: int = 9109
) -> None:
    """Show the state of pipelines, models and their store as metrics for Prometheus, until SIGTERM or Ctrl-C.

    Args:
        store: The store's root, if it is not the one of the configuration.
        environment: Which config/NAME.yaml, and whose models; else AIW_ENVIRONMENT, else development.
        host: Where to listen: 0.0.0.0 for whoever can reach this machine.
        port: Where to listen; 0 takes any that is free.
    """
    from monitoring.exporter.exporter import main as run

    run(store, environment, host, port)


@app.command
def metrics() -> None:
    """Write docs/metrics.md anew: every metric, from the table in ai_workflow/metrics.py."""
    from monitoring import metrics_page

    metrics_page.write()


def main() -> int:
    """Run the command line; an error of ours is one message, not a traceback."""
    try:
        code = app(result_action="return_value")
    except AiWorkflowError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return code if isinstance(code, int) else 0


if __name__ == "__main__":
    sys.exit(main())
