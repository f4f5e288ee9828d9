"""All routes but inference: health, metadata, labels, metrics, OpenAPI document, administration."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from importlib.metadata import version as version_of
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
from ai_workflow.serving.auth import Authenticator
from ai_workflow.serving.label_endpoint import LabelEndpoint
from ai_workflow.serving.log_level import LogLevel
from ai_workflow.serving.protocol import openapi
from ai_workflow.serving.protocol.oip import MATRIX
from ai_workflow.serving.protocol.tensors import COLUMN_TYPES
from ai_workflow.serving.routing.model_pool import ModelPool
from ai_workflow.serving.routing.served_model import ServedModel
from ai_workflow.telemetry import logs

_LONGEST_DEBUG = 86_400
_MOST_ADMIN_BYTES = 10_000
Endpoint = Callable[[Request], Awaitable[Response]]


class ManagementEndpoints:
    """Builds the application; `drain` is what `POST /admin/drain` calls, and `is_draining` says whether it is over."""

    def __init__(
        self, settings: Settings, versions: ModelPool, authenticator: Authenticator, labels: LabelEndpoint,
        drain: Callable[[], None], is_draining: Callable[[], bool],
    ) -> None:  # fmt: skip
        self._settings, self._versions, self._authenticator, self._labels = settings, versions, authenticator, labels
        self._drain, self._is_draining = drain, is_draining
        self._log_level = LogLevel()

    def app(self) -> Starlette:
        """Return the application."""
        model = "/v2/models/{model}"
        routes = [
            Route("/v2/health/live", self._live),
            Route("/v2/health/ready", self._ready),
            *(Route(path, self._open(self._server)) for path in ("/v2", "/v2/")),
            *(Route(path, self._open(self._model)) for path in (model, model + "/versions/{version}")),
            *(Route(f"{path}/ready", self._open(self._model_ready)) for path in (model, model + "/versions/{version}")),
            # Those of the model that is served are answered before they come here.
            *(
                Route(f"{path}/infer", self._open(self._model), methods=["POST"])
                for path in (model, model + "/versions/{version}")
            ),
            Route("/predict", self._open(self._model), methods=["POST"]),
            Route("/labels", self._labeling(self._labels.take), methods=["POST"]),
            Route("/metrics", self._open(self._metrics)),
            Route("/openapi.json", self._open(self._openapi)),
            Route("/admin/reload", self._admin(self._reload), methods=["POST"]),
            Route("/admin/log-level", self._admin(self._set_log_level), methods=["POST"]),
            Route("/admin/drain", self._admin(self._begin_drain), methods=["POST"]),
        ]
        app = Starlette(routes=routes, exception_handlers={HTTPException: _as_json, Exception: _internal})
        # A redirect would be made of the Host header, and be answered before the token is checked.
        app.router.redirect_slashes = False
        return app

    # -- who may -------------------------------------------------------------------------------------------------

    def _open(self, endpoint: Endpoint) -> Endpoint:
        """Let callers with the token in."""

        async def guarded(request: Request) -> Response:
            if not self._authenticator.can_predict(dict(request.scope["headers"])):
                raise HTTPException(401, "no valid bearer token", {"www-authenticate": "Bearer"})
            return await endpoint(request)

        return guarded

    def _labeling(self, endpoint: Endpoint) -> Endpoint:
        """Accept requests with the label token; labels are closed where only other tokens are set."""

        async def guarded(request: Request) -> Response:
            if not self._authenticator.accepts_labels:
                raise HTTPException(404, "labels are not accepted: service.label_token is not set. Set it")
            if not self._authenticator.can_send_labels(dict(request.scope["headers"])):
                raise HTTPException(401, "no valid label token", {"www-authenticate": "Bearer"})
            return await endpoint(request)

        return guarded

    def _admin(self, endpoint: Endpoint) -> Endpoint:
        """Let callers with the admin token in; without one, there is nothing there."""

        async def guarded(request: Request) -> Response:
            if not self._authenticator.has_admin_token:
                raise HTTPException(404, "there are no admin routes: service.admin_token is not set")
            if not self._authenticator.can_administer(dict(request.scope["headers"])):
                raise HTTPException(401, "no valid admin token", {"www-authenticate": "Bearer"})
            return await endpoint(request)

        return guarded

    # -- health --------------------------------------------------------------------------------------------------

    async def _live(self, _: Request) -> Response:
        return _json({"live": True})

    async def _ready(self, _: Request) -> Response:
        chain = self._versions.chain
        serving = [model.name for model in chain.models if model.is_available]
        has_default = self._settings.inference.default_response is not None
        whole = bool(chain.models) and chain.absent is None and len(serving) == len(chain.models)
        state = "draining" if self._is_draining() else "ok" if whole else "degraded"
        ready = not self._is_draining() and (bool(serving) or has_default)
        body = {
            "ready": ready,
            "state": state,
            "serving": serving[0] if serving else "default" if has_default else None,
            "versions": {model.name: model.status for model in chain.models},
            "absent": chain.absence,
        }
        return _json(body, 200 if ready else 503)

    async def _model_ready(self, request: Request) -> Response:
        model = self._served_model(request)
        ready = model is not None and model.is_available
        return _json({"name": self._settings.pipeline, "ready": ready}, 200 if ready else 503)

    # -- metadata ------------------------------------------------------------------------------------------------

    async def _server(self, _: Request) -> Response:
        body = {"name": "ai-workflow", "version": version_of("ai-workflow"), "extensions": ["binary_tensor_data"]}
        return _json(body)

    async def _model(self, request: Request) -> Response:
        return await asyncio.to_thread(self._metadata, self._served_model(request))

    def _metadata(self, model: ServedModel | None) -> Response:
        """Return the metadata of a version; in a thread, as it grows with columns, features and classes."""
        versions = [each.name for each in self._versions.chain.models]
        body: dict[str, Any] = {"name": self._settings.pipeline, "versions": versions, "platform": "ai-workflow"}
        body |= {"inputs": [], "outputs": []}
        if model is not None:
            loaded = model.loaded
            columns = loaded.encoder.columns.items()
            body["platform"] = f"ai-workflow_{loaded.kind}"
            body["inputs"] = [_tensor(name, COLUMN_TYPES[column.type], [-1]) for name, column in columns]
            kind = "BYTES" if loaded.classes else "FP64"
            body["outputs"] = [_tensor("prediction", kind, [-1]), _tensor("score", "FP64", [-1])]
            if loaded.classes:
                body["outputs"].append(_tensor("probabilities", "FP64", [-1, len(loaded.classes)]))
            body["parameters"] = {"version": model.name, "classes": loaded.classes, MATRIX: _matrix(model)}
        return _json(body)

    def _served_model(self, request: Request) -> ServedModel | None:
        """Return the version that a path names; without one, the first of the chain, if there is any.

        Raises:
            HTTPException: the model, or that version of it, is not served.
        """
        model, version = request.path_params.get("model"), request.path_params.get("version")
        if model != self._settings.pipeline:
            raise HTTPException(404, f"model '{model}' is not served; '{self._settings.pipeline}' is")
        chain = self._versions.chain
        if version is None:
            return chain.first
        model = self._versions.find(version)
        if model is None:
            there = ", ".join(each.name for each in chain.models) or "none"
            raise HTTPException(404, f"version '{version}' is not served; there is: {there}")
        return model

    async def _metrics(self, request: Request) -> Response:
        # OpenMetrics for who asks for it, as Prometheus does: only that has exemplars.
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        content = await asyncio.to_thread(encode, REGISTRY)
        return Response(content, headers={"content-type": content_type})

    async def _openapi(self, _: Request) -> Response:
        first = self._versions.chain.first
        document = await asyncio.to_thread(openapi.document, self._settings, first.loaded if first else None)
        return await asyncio.to_thread(_json, document)

    # -- administration ------------------------------------------------------------------------------------------

    async def _reload(self, _: Request) -> Response:
        await self._versions.refresh(retry_failed=True)
        chain = self._versions.chain
        return _json({"serving": [model.name for model in chain.models], "absent": chain.absence})

    async def _set_log_level(self, request: Request) -> Response:
        body = await _small_body(request)
        level, seconds = logs.normalize_level(body.get("level")), body.get("seconds", 600)
        if level not in logs.LEVELS:
            raise HTTPException(400, f"level {level!r} is none of {', '.join((*logs.LEVELS, 'WARN'))}")
        if type(seconds) not in (int, float) or not 0 < seconds <= _LONGEST_DEBUG:
            raise HTTPException(400, f"seconds must be a number above 0 and at most {_LONGEST_DEBUG}")
        self._log_level.change(level, seconds)
        return _json({"level": level, "seconds": seconds})

    async def _begin_drain(self, _: Request) -> Response:
        self._drain()
        return _json({"state": "draining"}, 202)


def _tensor(name: str, datatype: str, shape: list[int]) -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": shape}


def _matrix(model: ServedModel) -> dict[str, Any]:
    names = [feature["name"] for feature in model.loaded.encoder.spec["features"]]
    return {"datatype": "FP32", "shape": [-1, model.loaded.feature_count], "names": names}


async def _small_body(request: Request) -> dict[str, Any]:
    data = b""
    async for piece in request.stream():
        data += piece
        if len(data) > _MOST_ADMIN_BYTES:
            raise HTTPException(413, f"the body has more than {_MOST_ADMIN_BYTES} bytes", {"connection": "close"})
    try:
        body = orjson.loads(data)
    except ValueError as error:
        raise HTTPException(400, f"the body is not JSON: {error}") from error
    if type(body) is not dict:
        raise HTTPException(400, "the body must be an object")
    return body


def _json(body: Any, status: int = 200) -> Response:
    return Response(orjson.dumps(body), status, media_type="application/json")


async def _internal(_: Request, __: Exception) -> Response:
    return _json({"error": "internal error; the service's log has more"}, 500)


async def _as_json(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    response = _json({"error": error.detail}, error.status_code)
    response.headers.update(error.headers or {})
    return response
