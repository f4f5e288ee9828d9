"""`ai-workflow serve`: the inference service."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import ClassVar

from cyclopts import Parameter
from pydantic import ValidationError

from ai_workflow.cli.common_options import Where
from ai_workflow.config import variables
from ai_workflow.config.settings import Service, Settings
from ai_workflow.errors import AiWorkflowError
from ai_workflow.secret_values import Fetch
from ai_workflow.telemetry import logs


@Parameter(name="*")
@dataclass
class Place(Where):
    """What is served, and where.

    Args:
        host: Where to listen, if not at service.host.
        port: Where to listen, if not at service.port; 0 takes any that is free.
    """

    # The first training may publish after the service has begun to answer by default.
    _reads_only: ClassVar[bool] = False
    host: str | None = None
    port: int | None = None

    @property
    def settings(self) -> Settings:
        """The configuration that applies.

        Raises:
            AiWorkflowError: everybody could ask there, without a token.
        """
        found = super().settings
        given = {name: value for name, value in (("host", self.host), ("port", self.port)) if value is not None}
        try:
            service = Service.model_validate({**dict(found.service), **given})
        except ValidationError as error:
            raise AiWorkflowError("; ".join(problem["msg"] for problem in error.errors())) from None
        return found.model_copy(update={"service": service})


_CONFIGURED = Place()


def serve(*, place: Place = _CONFIGURED) -> None:
    """Answer over HTTP: by latest, else stable, else the default response, until SIGTERM or Ctrl-C.

    Args:
        place: What is served, and where.
    """
    run(place)


def run(place: Place, fetch: Fetch | None = None) -> None:
    """Serve; secrets come from `fetch` before they come from the environment."""
    from ai_workflow.serving.service import Service as InferenceService

    variables.check(place.loaded, os.environ, "service")
    settings = place.settings
    logs.setup(settings.logging.level, settings.logging.format)
    InferenceService(settings, fetch).run()
