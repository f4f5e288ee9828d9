"""`ai-workflow serve`: the inference service."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from ai_workflow import config, logs
from ai_workflow.errors import AiWorkflowError
from ai_workflow.settings import Service, Settings, StoreSection


def serve(
    *,
    pipeline: Path | None = None,
    environment: str | None = None,
    store: str | None = None,
    host: str | None = None,
    port: int | None = None,
) -> None:
    """Answer over HTTP: by latest, else stable, else the default response, until SIGTERM or Ctrl-C.

    Args:
        pipeline: YAML file of a pipeline; the pipeline of `config/base.yaml` if not given.
        environment: Which config/NAME.yaml; else AIW_ENVIRONMENT, else development.
        store: The store's root, if it is not the one of the configuration.
        host: Where to listen, if not at service.host.
        port: Where to listen, if not at service.port; 0 takes any that is free.
    """
    from ai_workflow.serving import service

    settings = with_place(config.load(pipeline, environment=environment).settings, store, host, port)
    logs.setup(settings.logging.level, settings.logging.format)
    service.Service(settings).run()


def with_place(settings: Settings, store: str | None, host: str | None, port: int | None) -> Settings:
    """Return settings with what the command line says of the place.

    Raises:
        AiWorkflowError: it could be reached by anybody there, without a token.
    """
    given = {name: value for name, value in (("host", host), ("port", port)) if value is not None}
    try:
        service = Service.model_validate({**dict(settings.service), **given})
    except ValidationError as error:
        raise AiWorkflowError("; ".join(problem["msg"] for problem in error.errors())) from None
    place = StoreSection(root=store) if store is not None else settings.store
    return settings.model_copy(update={"service": service, "store": place})
