"""Management endpoints: health, metadata, metrics, OpenAPI document, administration; route of labels."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from importlib.metadata import version as package_version
from typing import Any

import orjson
from prometheus_client import REGISTRY
from prometheus_client.exposition import choose_encoder
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ai_workflow.config.settings import Settings
from ai_workflow.http_server import request_body
from ai_workflow.serving.label_endpoint import LabelEndpoint
from ai_workflow.serving.log_level import LogLevel
from ai_workflow.serving.protocol import model_metadata, openapi
from ai_workflow.serving.route_guards import RouteGuards
from ai_workflow.serving.routing.model_pool import ModelPool
from ai_workflow.serving.routing.served_model import ServedModel
from ai_workflow.telemetry import logs

_MAX_LOG_LEVEL_SECONDS = 86_400
_MAX_ADMIN_BYTES = 10_000


class ManagementEndpoints:
    """Builder of the application of all routes except inference.

    Args:
        settings: the configuration of the pipeline.
        pool: the served model versions.
        guards: the checks of tokens.
        labels: the endpoint of labels.
        drain: starts the shutdown; `POST /admin/drain` calls it.
        is_draining: returns whether the shutdown has started.
    """

    def __init__(
        self,
        settings: Settings,
        pool: ModelPool,
        guards: RouteGuards,
        labels: LabelEndpoint,
        drain: Callable[[], None],
        is_draining: Callable[[], bool],
    ) -> None:
        self._settings, self._pool, self._guards = settings, pool, guards
        self._labels = labels
        self._drain, self._is_draining = drain, is_draining
        self._log_level = LogLevel()

    def app(self) -> Starlette:
        """Return the application."""
        model = "/v2/models/{model}"
        model_paths = (model, model + "/versions/{version}")
        routes = [
            Route("/v2/health/live", self._live),
            Route("/v2/health/ready", self._ready),
            *(Route(path, self._guards.client(self._server)) for path in ("/v2", "/v2/")),
            *(Route(path, self._guards.client(self._model)) for path in model_paths),
            *(Route(f"{path}/ready", self._guards.client(self._model_ready)) for path in model_paths),
            # InferenceApp handles the paths of the served model; these are for other models and other methods.
            *(Route(f"{path}/infer", self._guards.client(self._model), methods=["POST"]) for path in model_paths),
            Route("/predict", self._guards.client(self._model), methods=["POST"]),
            Route("/predict/{model}", self._guards.client(self._model), methods=["POST"]),
            Route("/labels", self._guards.label_sender(self._labels.handle), methods=["POST"]),
            Route("/labels/{model}", self._guards.label_sender(self._labels_of_model), methods=["POST"]),
            Route("/metrics", self._guards.client(self._metrics)),
            Route("/openapi.json", self._guards.client(self._openapi)),
            Route("/admin/reload", self._guards.admin(self._reload), methods=["POST"]),
            Route("/admin/log-level", self._guards.admin(self._set_log_level), methods=["POST"]),
            Route("/admin/drain", self._guards.admin(self._start_drain), methods=["POST"]),
        ]
        return application(routes)

    async def _live(self, _: Request) -> Response:
        return json_response({"live": True})

    async def _ready(self, _: Request) -> Response:
        body = self.readiness()
        return json_response(body, 200 if body["ready"] else 503)

    def readiness(self) -> dict[str, Any]:
        """Return whether the pipeline is ready, and what serves it."""
        chain = self._pool.chain
        available = [model.name for model in chain.models if model.is_available]
        has_default = self._settings.inference.default_response is not None
        is_complete = bool(chain.models) and chain.absent is None and len(available) == len(chain.models)
        state = "draining" if self._is_draining() else "ok" if is_complete else "degraded"
        is_ready = not self._is_draining() and (bool(available) or has_default)
        return {
            "ready": is_ready,
            "state": state,
            "serving": available[0] if available else "default" if has_default else None,
            "versions": {model.name: model.status for model in chain.models},
            "absent": chain.absence,
        }

    async def _model_ready(self, request: Request) -> Response:
        model = self._find_model(request)
        is_ready = model is not None and model.is_available
        return json_response({"name": self._settings.pipeline, "ready": is_ready}, 200 if is_ready else 503)

    # -- metadata ------------------------------------------------------------------------------------------------

    async def _server(self, _: Request) -> Response:
        extensions = ["binary_tensor_data"]
        return json_response(
            {"name": "ai-workflow", "version": package_version("ai-workflow"), "extensions": extensions}
        )

    async def _model(self, request: Request) -> Response:
        def respond() -> Response:
            return json_response(model_metadata.metadata(self._settings.pipeline, self._pool.chain, model))

        model = self._find_model(request)
        # In a thread, because the size of the metadata grows with columns, features and classes.
        return await asyncio.to_thread(respond)

    async def _labels_of_model(self, request: Request) -> Response:
        self._find_model(request)
        return await self._labels.handle(request)

    def _find_model(self, request: Request) -> ServedModel | None:
        """Return the version that a path names; if it names none, the first of the chain, if any.

        Raises:
            HTTPException: the model or the version is not served.
        """
        model_name, version = request.path_params.get("model"), request.path_params.get("version")
        if model_name != self._settings.pipeline:
            raise HTTPException(404, f"model '{model_name}' is not served. Served model: '{self._settings.pipeline}'")
        chain = self._pool.chain
        if version is None:
            return chain.first
        model = self._pool.find(version)
        if model is None:
            served = ", ".join(each.name for each in chain.models) or "none"
            raise HTTPException(404, f"version '{version}' is not served. Served versions: {served}")
        return model

    async def _metrics(self, request: Request) -> Response:
        # OpenMetrics if requested, as Prometheus does, because only that format has exemplars.
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        content = await asyncio.to_thread(encode, REGISTRY)
        return Response(content, headers={"content-type": content_type})

    async def _openapi(self, _: Request) -> Response:
        return await asyncio.to_thread(lambda: json_response(self.document()))

    def document(self) -> dict[str, Any]:
        """Return the OpenAPI document of the pipeline."""
        first = self._pool.chain.first
        return openapi.document(self._settings, first.loaded if first else None)

    # -- administration ------------------------------------------------------------------------------------------

    async def _reload(self, _: Request) -> Response:
        return json_response(await self.reload())

    async def reload(self) -> dict[str, Any]:
        """Read the aliases, load versions that failed again, and return what is served."""
        await self._pool.refresh(retry_failed=True)
        chain = self._pool.chain
        return {"serving": [model.name for model in chain.models], "absent": chain.absence}

    async def _set_log_level(self, request: Request) -> Response:
        body = await _read_object(request)
        level, seconds = logs.normalize_level(body.get("level")), body.get("seconds", 600)
        if level not in logs.LEVELS:
            raise HTTPException(400, f"level {level!r} is none of {', '.join((*logs.LEVELS, 'WARN'))}")
        if type(seconds) not in (int, float) or not 0 < seconds <= _MAX_LOG_LEVEL_SECONDS:
            raise HTTPException(400, f"seconds must be a number above 0 and at most {_MAX_LOG_LEVEL_SECONDS}")
        self._log_level.change(level, seconds)
        return json_response({"level": level, "seconds": seconds})

    async def _start_drain(self, _: Request) -> Response:
        self._drain()
        return json_response({"state": "draining"}, 202)


async def _read_object(request: Request) -> dict[str, Any]:
    try:
        body = orjson.loads(await request_body.read(request.receive, _MAX_ADMIN_BYTES))
    except request_body.BodyTooLargeError as error:
        raise HTTPException(413, str(error), {"connection": "close"}) from error
    except ValueError as error:
        raise HTTPException(400, f"the body is not JSON: {error}") from error
    if type(body) is not dict:
        raise HTTPException(400, "the body must be an object")
    return body


def json_response(body: Any, status: int = 200) -> Response:
    """Return a response with a JSON body."""
    return Response(orjson.dumps(body), status, media_type="application/json")


def application(routes: Sequence[Route]) -> Starlette:
    """Return an application whose errors are JSON."""
    app = Starlette(routes=routes, exception_handlers={HTTPException: _error_response, Exception: _internal_error})
    # A redirect would be built from the Host header, and be sent before the token is checked.
    app.router.redirect_slashes = False
    return app


async def _internal_error(_: Request, __: Exception) -> Response:
    return json_response({"error": "internal error; see the log of the service"}, 500)


async def _error_response(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    response = json_response({"error": error.detail}, error.status_code)
    response.headers.update(error.headers or {})
    return response
