"""`ai-workflow relay`: alerts of Alertmanager and Prefect, delivered to chat channels."""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import ValidationError

from ai_workflow.alerting import routing
from ai_workflow.config import environment as environment_variables
from ai_workflow.config import loader, variables
from ai_workflow.config.settings.chat import Relay
from ai_workflow.errors import AiWorkflowError
from ai_workflow.provisioning.blocks import block_values
from ai_workflow.telemetry import logs
from ai_workflow.telemetry.logs import logger

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
    Server(chosen, settings.chat, block_values.secret, block_values.chat).run()
