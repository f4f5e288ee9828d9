"""A manual flow run in this process, with the server of PREFECT_API_URL, `make run` or `make up`."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ai_workflow.config import project
from ai_workflow.errors import AiWorkflowError
from ai_workflow.local import server
from ai_workflow.prefect_errors import prefect_errors_wrapped

VAR = Path("var")


def main(
    name: str,
    pipeline: Path | None = None,
    environment: str | None = None,
    log_level: str | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> int:
    """Run one flow, and return 0 if it completed.

    Raises:
        AiWorkflowError: the configuration is invalid, or no Prefect server is configured or answers.
    """
    _find_server()
    # Importing Prefect creates several hundred thousand objects that are never freed. Garbage collection meanwhile
    # would take a tenth of a run whose stages are all cached.
    gc.disable()
    flow = getattr(project.module(f"flows.{name}"), name)
    gc.freeze()
    gc.enable()
    try:
        with prefect_errors_wrapped():
            state = asyncio.run(
                flow(
                    str(pipeline) if pipeline else None,
                    environment,
                    overrides=dict(overrides or {}) or None,
                    log_level=log_level,
                    return_state=True,
                )
            )
    except KeyboardInterrupt:
        # A second Ctrl-C, or one before the run began; Prefect has reported it.
        return 128 + signal.SIGINT
    return 0 if state.is_completed() else 1


def _find_server() -> None:
    """Set PREFECT_API_URL to the server of this folder, if neither the variable nor a profile is set.

    Prefect would start a temporary server instead, whose runs no other process sees.

    Raises:
        AiWorkflowError: no server is configured or runs, or it does not answer.
    """
    if url := os.environ.get("PREFECT_API_URL", "").rstrip("/") or _profile_url():
        server.require(url)
        return
    local_server = server.status(VAR)
    if local_server is None:
        raise AiWorkflowError(
            "no Prefect server: PREFECT_API_URL is not set. Start one with `make run` or `make up`, or set the variable"
        )
    os.environ["PREFECT_API_URL"] = local_server.api_url
    # Prefect has read its settings already, so they take effect in a new process only.
    os.execv(sys.executable, [sys.executable, "-m", "ai_workflow", *sys.argv[1:]])  # noqa: S606 - the same command


def _profile_url() -> str | None:
    from prefect.settings import get_current_settings

    return get_current_settings().api.url
