"""ASGI application of a service of several pipelines: each request goes to the application of the pipeline it names.

    POST /predict/<pipeline>, POST /labels/<pipeline>, /v2/models/<pipeline>/...

Health, metrics, the OpenAPI document and administration are those of all pipelines together. Each pipeline has its own
models, queues and limits, so that the faults and the load of one cost the others nothing but CPU time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ai_workflow.serving.management_endpoints import application, json_response
from ai_workflow.serving.pipeline_service import PipelineService
from ai_workflow.serving.protocol import openapi_merge
from ai_workflow.serving.route_guards import RouteGuards
from ai_workflow.telemetry import trace_context

_PREFIXES = ("/v2/models/", "/predict/", "/labels/")
# Routes that are the same for all pipelines; the first one answers.
_COMMON = frozenset({"/v2", "/v2/", "/v2/health/live", "/metrics", "/admin/log-level", "/admin/drain"})


class PipelinesApp:
    """Application that passes each request to the application of a pipeline.

    Args:
        pipelines: the started pipelines.
        guards: the checks of tokens.
    """

    def __init__(self, pipelines: Sequence[PipelineService], guards: RouteGuards) -> None:
        self._pipelines = {each.settings.pipeline: each for each in pipelines}
        self._first = pipelines[0].app
        self._shared = application(
            [
                Route("/v2/health/ready", self._ready),
                Route("/openapi.json", guards.client(self._openapi)),
                Route("/admin/reload", guards.admin(self._reload), methods=["POST"]),
                Route("/{path:path}", guards.client(self._unknown), methods=["GET", "POST"]),
            ]
        )

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Handle one request."""
        app: Any = self._shared
        name: str | None = None
        if scope["type"] == "http":
            path = scope["path"]
            prefix = next((each for each in _PREFIXES if path.startswith(each)), None)
            segment = path.removeprefix(prefix).partition("/")[0] if prefix else ""
            name = segment if segment in self._pipelines else None
            app = self._pipelines[name].app if name else self._first if path in _COMMON else self._shared
        with trace_context.bound(pipeline=name):
            await app(scope, receive, send)

    async def _ready(self, _: Request) -> Response:
        """Respond whether a pipeline is ready: one without a model must not take the others from a load balancer."""
        each = {name: pipeline.management.readiness() for name, pipeline in self._pipelines.items()}
        states = {body["state"] for body in each.values()}
        state = "draining" if "draining" in states else "ok" if states == {"ok"} else "degraded"
        is_ready = any(body["ready"] for body in each.values())
        return json_response({"ready": is_ready, "state": state, "pipelines": each}, 200 if is_ready else 503)

    async def _openapi(self, _: Request) -> Response:
        def respond() -> Response:
            documents = {name: pipeline.management.document() for name, pipeline in self._pipelines.items()}
            return json_response(openapi_merge.merged(documents))

        return await asyncio.to_thread(respond)

    async def _reload(self, _: Request) -> Response:
        return json_response({name: await each.management.reload() for name, each in self._pipelines.items()})

    async def _unknown(self, request: Request) -> Response:
        names = ", ".join(self._pipelines)
        example = next(iter(self._pipelines))
        text = f"{request.url.path} names no pipeline that is served. Served: {names}, as in /predict/{example}"
        raise HTTPException(404, text)
