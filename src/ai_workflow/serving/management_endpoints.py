"""Management endpoints: health, metadata, metrics, OpenAPI document, administration; route of labels."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
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
from ai_workflow.serving.auth import Authenticator
from ai_workflow.serving.label_endpoint import LabelEndpoint
from ai_workflow.serving.log_level import LogLevel
from ai_workflow.serving.protocol import model_metadata, openapi
from ai_workflow.serving.routing.model_pool import ModelPool
from ai_workflow.serving.routing.served_model import ServedModel
from ai_workflow.telemetry import logs

_MAX_LOG_LEVEL_SECONDS = 86_400
_MAX_ADMIN_BYTES = 10_000
Endpoint = Callable[[Request], Awaitable[Response]]


class ManagementEndpoints:
    """Builder of the application of all routes except inference.

    Args:
        settings: the configuration of the pipeline.
        pool: the served model versions.
        authenticator: the tokens.
        labels: the endpoint of labels.
        drain: starts the shutdown; `POST /admin/drain` calls it.
        is_draining: returns whether the shutdown has started.
    """

    def __init__(
        self,
        settings: Settings,
        pool: ModelPool,
        authenticator: Authenticator,
        labels: LabelEndpoint,
        drain: Callable[[], None],
        is_draining: Callable[[], bool],
    ) -> None:
        self._settings, self._pool, self._authenticator = settings, pool, authenticator
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
            *(Route(path, self._client(self._server)) for path in ("/v2", "/v2/")),
            *(Route(path, self._client(self._model)) for path in model_paths),
            *(Route(f"{path}/ready", self._client(self._model_ready)) for path in model_paths),
            # InferenceApp handles the paths of the served model; these are for other models and other methods.
            *(Route(f"{path}/infer", self._client(self._model), methods=["POST"]) for path in model_paths),
            Route("/predict", self._client(self._model), methods=["POST"]),
            Route("/labels", self._label_sender(self._labels.handle), methods=["POST"]),
            Route("/metrics", self._client(self._metrics)),
            Route("/openapi.json", self._client(self._openapi)),
            Route("/admin/reload", self._admin(self._reload), methods=["POST"]),
            Route("/admin/log-level", self._admin(self._set_log_level), methods=["POST"]),
            Route("/admin/drain", self._admin(self._start_drain), methods=["POST"]),
        ]
        app = Starlette(routes=routes, exception_handlers={HTTPException: _error_response, Exception: _internal_error})
        # A redirect would be built from the Host header, and be sent before the token is checked.
        app.router.redirect_slashes = False
        return app

    # -- authentication ------------------------------------------------------------------------------------------

    def _client(self, endpoint: Endpoint) -> Endpoint:
        """Require the client token, if one is configured."""

        async def guarded(request: Request) -> Response:
            if not self._authenticator.can_predict(dict(request.scope["headers"])):
                raise HTTPException(401, "no valid bearer token", {"www-authenticate": "Bearer"})
            return await endpoint(request)

        return guarded

    def _label_sender(self, endpoint: Endpoint) -> Endpoint:
        """Require the label token; return 404 if only other tokens are configured."""

        async def guarded(request: Request) -> Response:
            if not self._authenticator.accepts_labels:
                raise HTTPException(404, "labels are not accepted: service.label_token is not set. Set it")
            if not self._authenticator.can_send_labels(dict(request.scope["headers"])):
                raise HTTPException(401, "no valid label token", {"www-authenticate": "Bearer"})
            return await endpoint(request)

        return guarded

    def _admin(self, endpoint: Endpoint) -> Endpoint:
        """Require the admin token; return 404 if none is configured."""

        async def guarded(request: Request) -> Response:
            if not self._authenticator.has_admin_token:
                raise HTTPException(404, "there are no admin routes: service.admin_token is not set")
            if not self._authenticator.can_administer(dict(request.scope["headers"])):
                raise HTTPException(401, "no valid admin token", {"www-authenticate": "Bearer"})
            return await endpoint(request)

        return guarded

    # -- health --------------------------------------------------------------------------------------------------

    async def _live(self, _: Request) -> Response:
        return _json_response({"live": True})

    async def _ready(self, _: Request) -> Response:
        chain = self._pool.chain
        available = [model.name for model in chain.models if model.is_available]
        has_default = self._settings.inference.default_response is not None
        is_complete = bool(chain.models) and chain.absent is None and len(available) == len(chain.models)
        state = "draining" if self._is_draining() else "ok" if is_complete else "degraded"
        is_ready = not self._is_draining() and (bool(available) or has_default)
        body = {
            "ready": is_ready,
            "state": state,
            "serving": available[0] if available else "default" if has_default else None,
            "versions": {model.name: model.status for model in chain.models},
            "absent": chain.absence,
        }
        return _json_response(body, 200 if is_ready else 503)

    async def _model_ready(self, request: Request) -> Response:
        model = self._find_model(request)
        is_ready = model is not None and model.is_available
        return _json_response({"name": self._settings.pipeline, "ready": is_ready}, 200 if is_ready else 503)

    # -- metadata ------------------------------------------------------------------------------------------------

    async def _server(self, _: Request) -> Response:
        extensions = ["binary_tensor_data"]
        return _json_response(
            {"name": "ai-workflow", "version": package_version("ai-workflow"), "extensions": extensions}
        )

    async def _model(self, request: Request) -> Response:
        def respond() -> Response:
            return _json_response(model_metadata.metadata(self._settings.pipeline, self._pool.chain, model))

        model = self._find_model(request)
        # In a thread, because the size of the metadata grows with columns, features and classes.
        return await asyncio.to_thread(respond)

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
        first = self._pool.chain.first
        document = await asyncio.to_thread(openapi.document, self._settings, first.loaded if first else None)
        return await asyncio.to_thread(_json_response, document)

    # -- administration ------------------------------------------------------------------------------------------

    async def _reload(self, _: Request) -> Response:
        await self._pool.refresh(retry_failed=True)
        chain = self._pool.chain
        return _json_response({"serving": [model.name for model in chain.models], "absent": chain.absence})

    async def _set_log_level(self, request: Request) -> Response:
        body = await _read_object(request)
        level, seconds = logs.normalize_level(body.get("level")), body.get("seconds", 600)
        if level not in logs.LEVELS:
            raise HTTPException(400, f"level {level!r} is none of {', '.join((*logs.LEVELS, 'WARN'))}")
        if type(seconds) not in (int, float) or not 0 < seconds <= _MAX_LOG_LEVEL_SECONDS:
            raise HTTPException(400, f"seconds must be a number above 0 and at most {_MAX_LOG_LEVEL_SECONDS}")
        self._log_level.change(level, seconds)
        return _json_response({"level": level, "seconds": seconds})

    async def _start_drain(self, _: Request) -> Response:
        self._drain()
        return _json_response({"state": "draining"}, 202)


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


def _json_response(body: Any, status: int = 200) -> Response:
    return Response(orjson.dumps(body), status, media_type="application/json")


async def _internal_error(_: Request, __: Exception) -> Response:
    return _json_response({"error": "internal error; see the log of the service"}, 500)


async def _error_response(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    response = _json_response({"error": error.detail}, error.status_code)
    response.headers.update(error.headers or {})
    return response
