"""`python -m ai_workflow.local.serve`: the inference service, with its tokens from Prefect's Secret blocks."""

from __future__ import annotations

import multiprocessing
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from cyclopts import App, CycloptsError

from ai_workflow.cli import serve as cli_serve
from ai_workflow.cli.main import FAILED
from ai_workflow.config import dotenv
from ai_workflow.errors import AiWorkflowError
from ai_workflow.local import prefect_settings
from ai_workflow.prefect_errors import explain
from ai_workflow.runtime import process_limit
from ai_workflow.secret_values import scrub
from ai_workflow.telemetry.logs import logger

app = App(name="python -m ai_workflow.local.serve", help=__doc__)
log = logger("serving")


@app.default
def serve(*, place: cli_serve.Place = cli_serve.Place()) -> None:  # noqa: B008 - cyclopts reads the default
    """Answer over HTTP as `ai-workflow serve` does; a token that no Secret block holds comes from the environment.

    Args:
        place: What is served, and where.
    """
    cli_serve.run(place, from_block)


def from_block(name: str) -> str | None:
    """Return the value of a Secret block; read by another process, as Prefect takes more memory than the service."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        value, problem = pool.submit(_read, name).result()
    if problem:
        log.warning("Secret block '%s' cannot be read, the environment is asked: %s", name, problem)
    return value


def _read(name: str) -> tuple[str | None, str]:
    """Return the value, or why Prefect does not have it."""
    from ai_workflow.orchestration.pipeline_run import secret_block

    try:
        prefect_settings.require_url(Path("var"))
        return secret_block(name), ""
    except Exception as error:  # whatever keeps Prefect from answering
        return None, f"{type(error).__name__}: {explain(error)}"


def main() -> None:
    """Run, and exit: 0 done, 2 a mistake that is said on stderr."""
    try:
        dotenv.load()
        with process_limit.explained():
            app(exit_on_error=False)
    except CycloptsError:
        sys.exit(FAILED)
    except AiWorkflowError as error:
        print(scrub(str(error)), file=sys.stderr)
        sys.exit(FAILED)


if __name__ == "__main__":
    main()
