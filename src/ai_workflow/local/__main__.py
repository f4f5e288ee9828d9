"""The commands behind `make run`, `make score`, `make stop` and `make status`."""

from __future__ import annotations

import sys
from pathlib import Path

from cyclopts import App

from ai_workflow.config import dotenv
from ai_workflow.local import server
from ai_workflow.local.stack.paths import Place
from ai_workflow.runtime import command_line

VAR = Path("var")

app = App(name="python -m ai_workflow.local.__main__", help=__doc__, version_flags=[])


@app.command
def run(config: Path | None = None, environment: str | None = None) -> int:
    """Run a pipeline on this machine, with a Prefect server started if none answers.

    Args:
        config: the YAML of a pipeline; the example pipeline if not given.
        environment: development or production.
    """
    from ai_workflow.local import first_run

    return first_run.main(config=config, environment=environment)


@app.command
def score(source: str = "", config: Path | None = None, environment: str | None = None, model: str = "latest") -> int:
    """Score another file with the trained model, with a Prefect server started if none answers.

    Args:
        source: a file, glob, folder or URL in the format of the pipeline's inference.source, else source.
        config: the YAML of a pipeline; the example pipeline if not given.
        environment: development or production.
        model: latest, stable or the name of a version.
    """
    from ai_workflow.local import score as scoring

    return scoring.main(source, config=config, environment=environment, model=model)


@app.command
def stop() -> int:
    """Stop the local Prefect server."""
    stopped = server.stop(VAR)
    print("Prefect server stopped" if stopped else "No Prefect server was running")
    if Place(VAR).running():
        print("The stack runs, with a server of its own. `make down` ends it")
    return 0


@app.command
def status() -> int:
    """Show the stack, or whether the Prefect server answers, and where; exit code 3 if none does."""
    if Place(VAR).read():
        from ai_workflow.local.stack.__main__ import status as of_stack

        return of_stack()
    found = server.status(VAR)
    if found is None:
        print("No Prefect server is running. `make run` starts one, `make up` the whole stack")
        return 3
    print(f"Prefect server: {found.ui_url}  (pid {found.pid if found.pid else 'unknown: from PREFECT_API_URL'})")
    return 0


def main() -> int:
    """Run the command line; an error of ours is one message, not a traceback."""
    return command_line.exit_code(_run)


def _run() -> object:
    dotenv.load()
    return app(result_action="return_value")


if __name__ == "__main__":
    sys.exit(main())
