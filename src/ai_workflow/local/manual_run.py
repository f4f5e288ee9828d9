"""One flow run in this process: against PREFECT_API_URL, or the server of `make run` or `make up`."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
from pathlib import Path

from ai_workflow.config import project
from ai_workflow.errors import AiWorkflowError
from ai_workflow.local import server
from ai_workflow.prefect_errors import prefect_errors_wrapped

VAR = Path("var")


def main(name: str, pipeline: Path | None = None, environment: str | None = None, log_level: str | None = None) -> int:
    """Run one flow, and return 0 if it completed.

    Raises:
        AiWorkflowError: the configuration is wrong, or no Prefect server is found or answers.
    """
    _find_server()
    # Importing Prefect makes objects by the hundred thousand that all live on: collecting meanwhile finds nothing,
    # and takes a tenth of a run whose stages are all cached.
    gc.disable()
    flow = getattr(project.module(f"flows.{name}"), name)
    gc.freeze()
    gc.enable()
    try:
        with prefect_errors_wrapped():
            state = asyncio.run(
                flow(str(pipeline) if pipeline else None, environment, log_level=log_level, return_state=True)
            )
    except KeyboardInterrupt:
        # A second one, or one before the run began: Prefect has reported it.
        return 128 + signal.SIGINT
    return 0 if state.is_completed() else 1


def _find_server() -> None:
    """Set PREFECT_API_URL where nothing sets it and a server of this folder runs.

    Prefect would start a temporary server instead, whose runs no other process sees.

    Raises:
        AiWorkflowError: there is none, or it does not answer.
    """
    if url := os.environ.get("PREFECT_API_URL", "").rstrip("/") or _of_profile():
        server.require(url)
        return
    found = server.status(VAR)
    if found is None:
        raise AiWorkflowError(
            "no Prefect server: PREFECT_API_URL is not set. Start one with `make run` or `make up`, or set the variable"
        )
    os.environ["PREFECT_API_URL"] = found.api_url
    # Prefect has read its settings; a new process reads them again.
    os.execv(sys.executable, [sys.executable, "-m", "ai_workflow", *sys.argv[1:]])  # noqa: S606 - the same command


def _of_profile() -> str | None:
    from prefect.settings import get_current_settings

    return get_current_settings().api.url
