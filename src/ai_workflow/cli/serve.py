"""`ai-workflow serve`: the inference service."""

from __future__ import annotations

import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from cyclopts import Parameter
from pydantic import ValidationError

from ai_workflow.cli.common_options import Where
from ai_workflow.config import variables
from ai_workflow.config.settings import Service, Settings
from ai_workflow.errors import AiWorkflowError
from ai_workflow.local import prefect_settings
from ai_workflow.prefect_errors import explain
from ai_workflow.telemetry import logs
from ai_workflow.telemetry.logs import logger

log = logger("serving")


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

    Secrets come from Prefect's Secret blocks where PREFECT_API_URL or a profile names a server, else from the
    environment.

    Args:
        place: What is served, and where.
    """
    from ai_workflow.serving.service import Service as InferenceService

    variables.check(place.loaded, os.environ, "service")
    settings = place.settings
    logs.setup(settings.logging.level, settings.logging.format)
    InferenceService(settings, _from_block if prefect_settings.may_name_a_server(os.environ) else None).run()


def _from_block(name: str) -> str | None:
    """Return the value of a Secret block; another process reads it, as Prefect takes more memory than the service."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        value, problem = pool.submit(_read, name).result()
    if problem:
        log.warning("Secret block '%s' cannot be read, its environment variable is used instead: %s", name, problem)
    return value


def _read(name: str) -> tuple[str | None, str]:
    """Return the value, or the reason why it cannot be read; neither where no server is configured."""
    from ai_workflow.orchestration.pipeline_run import secret_block

    try:
        prefect_settings.require_url(Path("var"))
        return secret_block(name), ""
    except prefect_settings.UrlUnset:
        return None, ""
    except Exception as error:  # whatever keeps Prefect from answering
        return None, f"{type(error).__name__}: {explain(error)}"
