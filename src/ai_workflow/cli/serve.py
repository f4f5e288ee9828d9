"""`ai-workflow serve`: the inference service."""

from __future__ import annotations

import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

from cyclopts import Parameter
from pydantic import ValidationError

from ai_workflow.cli.common_options import WritingOptions
from ai_workflow.cli.option_errors import invalid_options
from ai_workflow.config import layers, project_pipelines, variables
from ai_workflow.config.loader import Loaded
from ai_workflow.config.settings import Service, Settings
from ai_workflow.config.settings.service import ALL_PIPELINES
from ai_workflow.errors import AiWorkflowError
from ai_workflow.local import prefect_settings
from ai_workflow.telemetry import logs
from ai_workflow.telemetry.logs import logger

log = logger("serving")


@Parameter(name="*")
@dataclass
class ServeOptions(WritingOptions):
    """Options of the inference service; the folder of the store may be created by a later training.

    Args:
        host: Address to listen on; service.host if not given.
        port: Port to listen on; service.port if not given, 0 for any free port.
        all: Serve all pipelines in pipelines/, as with `service.pipelines: [all]`.
    """

    host: str | None = None
    port: int | None = None
    all: bool = False

    def load_pipelines(self, settings: Settings) -> list[Loaded]:
        """Return the pipelines of `--all` or of `service.pipelines`; none if the service is that of one pipeline.

        Raises:
            AiWorkflowError: `--pipeline` is given as well, a name is unknown, or a pipeline is not valid.
        """
        names = [ALL_PIPELINES] if self.all else [] if self.pipeline else settings.service.pipelines
        if self.all and self.pipeline:
            raise AiWorkflowError("--all and --pipeline exclude each other. Give one of them")
        if not names:
            return []
        root = layers.project_root(None, os.environ)
        chosen = None if ALL_PIPELINES in names else names
        found = project_pipelines.load(root, chosen, environment=self.environment, overrides=self.overrides)
        if not found:
            raise AiWorkflowError(f"{root} has no pipelines/<name>/pipeline.yaml to serve. Add one")
        return list(found.values())

    @property
    def settings(self) -> Settings:
        """The settings with the host and port of the options.

        Raises:
            AiWorkflowError: the service would listen for other machines without a token.
        """
        settings = super().settings
        overrides = {name: value for name, value in (("host", self.host), ("port", self.port)) if value is not None}
        try:
            service = Service.model_validate({**dict(settings.service), **overrides})
        except ValidationError as error:
            raise invalid_options(error) from None
        return settings.model_copy(update={"service": service})


_DEFAULTS = ServeOptions()


def serve(*, options: ServeOptions = _DEFAULTS) -> None:
    """Serve predictions over HTTP by latest, else stable, else the default response, until SIGTERM or Ctrl-C.

    Secrets are read from Prefect Secret blocks if PREFECT_API_URL or a profile names a server, else from the
    environment.

    Args:
        options: Pipeline, environment, store, host and port.
    """
    from ai_workflow.serving.pipeline_service import ServedPipeline
    from ai_workflow.serving.service import Service as InferenceService

    variables.check(options.loaded, os.environ, "service")
    settings = options.settings
    logs.setup(settings.logging.level, settings.logging.format)
    loaded = options.load_pipelines(settings)
    for each in loaded:
        variables.check(each, os.environ, "service")
    # Address, tokens and limits are those of the service, also where the file of a pipeline has others.
    pipelines = [
        ServedPipeline(each.settings.model_copy(update={"service": settings.service}), each.code_folders)
        for each in loaded
    ]
    fetch = _secret_block if prefect_settings.may_name_a_server(os.environ) else None
    InferenceService(settings, fetch, pipelines).run()


def _secret_block(name: str) -> str | None:
    """Return the value of a Secret block, read in a child process because Prefect takes much memory."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        value, warning = pool.submit(_read, name).result()
    if warning:
        log.warning("%s", warning)
    return value


def _read(name: str) -> tuple[str | None, str]:
    from ai_workflow.orchestration import secret_blocks

    return secret_blocks.read(name)
