"""`python -m monitoring relay`: takes webhooks from Alertmanager and Prefect, and tells the chat channels."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ai_workflow.alerting import routing
from ai_workflow.config import environment as environment_variables
from ai_workflow.config import loader, variables
from ai_workflow.config.settings.chat import Relay
from ai_workflow.errors import AiWorkflowError
from ai_workflow.prefect_errors import explain
from ai_workflow.telemetry import logs
from ai_workflow.telemetry.logs import logger

_PREFECT_SECONDS = 15.0
log = logger("relay")


def relay(
    *,
    pipeline: Path | None = None,
    environment: str | None = None,
    host: str | None = None,
    port: int | None = None,
) -> None:
    """Receive alerts and send them to the channels of `chat:`, until SIGTERM or Ctrl-C.

    Args:
        pipeline: YAML file of a pipeline, whose `relay:` and `chat:` are used as well.
        environment: Which config/NAME.yaml; else AIW_ENVIRONMENT, else development.
        host: Where to listen, if not at relay.host; other than this machine only with relay.token.
        port: Where to listen, if not at relay.port; 0 takes any that is free.
    """
    from ai_workflow.alerting.server import Server

    loaded = loader.load(pipeline, environment=environment)
    variables.check(loaded, os.environ, "relay")
    environment_variables.check(os.environ)
    settings = loaded.settings
    logs.setup(settings.logging.level, settings.logging.format)
    for problem in routing.problems([channel.name for channel in settings.chat]):
        log.error("%s", problem)
    given = {name: value for name, value in (("host", host), ("port", port)) if value is not None}
    try:
        chosen = Relay.model_validate({**dict(settings.relay), **given})
    except ValidationError as error:
        raise AiWorkflowError("; ".join(problem["msg"] for problem in error.errors())) from None
    Server(chosen, settings.chat, secret_block, chat_block).run()


def secret_block(name: str) -> str | None:
    """Return the value of a Prefect Secret block, or None where there is none, or no Prefect to ask."""
    from prefect.blocks.system import Secret

    block: Any = _block(f"Secret block '{name}'", Secret, name)
    return None if block is None else str(block.get())


def chat_block(name: str) -> Mapping[str, Any] | None:
    """Return what a ChatChannel block holds, or None where there is none, or no Prefect to ask."""
    from ai_workflow.provisioning.blocks.chat_channel import ChatChannel

    block: Any = _block(f"ChatChannel block '{name}'", ChatChannel, name)
    return None if block is None else block.settings()


def _block(what: str, kind: Any, name: str) -> object:
    from ai_workflow.alerting import events

    if not events.is_possible():
        return None
    try:
        # Its client would try for minutes, and until then no chat is told.
        return asyncio.run(asyncio.wait_for(kind.aload(name), _PREFECT_SECONDS))
    except ValueError:
        return None
    except Exception as error:  # whatever keeps Prefect from answering
        log.warning("%s cannot be read, the environment is asked: %s: %s", what, type(error).__name__, explain(error))
        return None
