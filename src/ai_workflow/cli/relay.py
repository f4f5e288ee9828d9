"""`ai-workflow relay`: deliver alerts of Alertmanager and Prefect to chat channels."""

from __future__ import annotations

import os

from pydantic import ValidationError

from ai_workflow.alerting import routing
from ai_workflow.cli.common_options import ConfigOptions
from ai_workflow.cli.option_errors import invalid_options
from ai_workflow.config import environment as environment_variables
from ai_workflow.config import project, variables
from ai_workflow.config.settings.chat import Relay
from ai_workflow.provisioning.blocks import block_values
from ai_workflow.telemetry import logs
from ai_workflow.telemetry.logs import logger

log = logger("relay")
_DEFAULTS = ConfigOptions()


def relay(*, options: ConfigOptions = _DEFAULTS, host: str | None = None, port: int | None = None) -> None:
    """Receive alerts and send them to the channels of `chat:`, until SIGTERM or Ctrl-C.

    Args:
        options: Pipeline and environment.
        host: Address to listen on; relay.host if not given. Other machines require relay.token.
        port: Port to listen on; relay.port if not given, 0 for any free port.
    """
    from ai_workflow.alerting.server import Server

    loaded = options.loaded
    variables.check(loaded, os.environ, "relay")
    environment_variables.check(os.environ)
    settings = loaded.settings
    logs.setup(settings.logging.level, settings.logging.format)
    for problem in routing.problems([channel.name for channel in settings.chat]):
        log.error("%s", problem)
    overrides = {name: value for name, value in (("host", host), ("port", port)) if value is not None}
    try:
        relay_settings = Relay.model_validate({**dict(settings.relay), **overrides})
    except ValidationError as error:
        raise invalid_options(error) from None
    labels = project.event_labels(settings.environment)
    Server(relay_settings, settings.chat, block_values.secret, block_values.chat, labels).run()
