"""The commands behind `make run`, `make stop` and `make status`."""

from __future__ import annotations

import sys
from pathlib import Path

from cyclopts import App

from ai_workflow.errors import AiWorkflowError
from deploy import server

VAR = Path("var")

app = App(name="python -m deploy.local", help=__doc__, version_flags=[])


@app.command
def run(config: Path | None = None, environment: str | None = None) -> int:
    """Run a pipeline on this machine, with a Prefect server started if none answers.

    Args:
        config: the YAML of a pipeline; the example pipeline if not given.
        environment: development or production.
    """
    from deploy import first_run

    return first_run.main(config=config, environment=environment)


@app.command
def stop() -> int:
    """Stop the local Prefect server."""
    print("Prefect server stopped" if server.stop(VAR) else "No Prefect server was running")
    return 0


@app.command
def status() -> int:
    """Show whether the Prefect server answers, and where; exit code 3 if none does."""
    found = server.status(VAR)
    if found is None:
        print("No Prefect server is running. `make run` starts one")
        return 3
    print(f"Prefect server: {found.ui_url}  (pid {found.pid if found.pid else 'unknown: from PREFECT_API_URL'})")
    return 0


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
