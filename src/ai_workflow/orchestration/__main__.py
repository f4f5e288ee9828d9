"""`python -m flows training`: runs a flow by hand, against the server of PREFECT_API_URL, `make run` or `make up`."""

from __future__ import annotations

import argparse
import asyncio
import gc
import importlib
import os
import signal
import sys
from pathlib import Path

from ai_workflow.config import dotenv
from ai_workflow.errors import AiWorkflowError
from ai_workflow.prefect_errors import explained
from ai_workflow.runtime import process_limit, standard_output
from ai_workflow.secret_values import scrub
from ai_workflow.telemetry.control_characters import escape_lines

VAR = Path("var")
FLOWS = ("training", "scoring", "evaluation", "recovery", "promotion", "retention", "drill")


def main() -> int:
    """Run one flow; 0 if it completed."""
    parser = argparse.ArgumentParser(prog="python -m flows", description=__doc__)
    parser.add_argument("flow", choices=FLOWS)
    parser.add_argument("--config", help="pipeline file; the pipeline of config/base.yaml if not given")
    parser.add_argument("--environment", help="which config/<environment>.yaml applies")
    parser.add_argument("--log-level", help="DEBUG, INFO, WARN or ERROR; as the configuration says if not given")
    given = parser.parse_args()
    try:
        dotenv.load()
    except AiWorkflowError as error:
        return _fail(str(error))
    if problem := _find_server():
        return _fail(problem, 2)
    # Importing Prefect makes objects by the hundred thousand that all live on: collecting meanwhile finds nothing,
    # and takes a tenth of a run whose stages are all cached.
    gc.disable()
    flow = getattr(importlib.import_module(f"flows.{given.flow}"), given.flow)
    gc.freeze()
    gc.enable()
    try:
        with process_limit.explained(), explained():
            run = flow(given.config, given.environment, log_level=given.log_level, return_state=True)
            state = asyncio.run(run)
    except KeyboardInterrupt:
        # A second one, or one where nothing was under way yet: Prefect has said so, and a traceback says no more.
        return 128 + signal.SIGINT
    except AiWorkflowError as error:
        return _fail(str(error))
    return 0 if state.is_completed() else 1


def _fail(problem: str, code: int = 1) -> int:
    sys.stderr.write(f"error: {escape_lines(scrub(problem))}\n")
    return code


def _find_server() -> str | None:  # noqa: RET503 - execv does not return
    """Set PREFECT_API_URL where nothing sets it and a server of this folder runs; return why no server answers.

    Prefect would start a temporary server instead, whose runs no other process sees.
    """
    from ai_workflow.local import server

    try:
        if url := os.environ.get("PREFECT_API_URL", "").rstrip("/") or _of_profile():
            server.require(url)
            return None
        found = server.status(VAR)
    except AiWorkflowError as error:
        return str(error)
    if found is None:
        return (
            "no Prefect server: PREFECT_API_URL is not set. Start one with `make run` or `make up`, or set the variable"
        )
    os.environ["PREFECT_API_URL"] = found.api_url
    # Prefect has read its settings; a new process reads them again.
    os.execv(sys.executable, [sys.executable, "-m", "flows", *sys.argv[1:]])  # noqa: S606 - the same command, no shell


def _of_profile() -> str | None:
    from prefect.settings import get_current_settings

    return get_current_settings().api.url


if __name__ == "__main__":
    with standard_output.may_be_closed():
        sys.exit(main())
