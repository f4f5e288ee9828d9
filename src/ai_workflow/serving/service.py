"""The inference service: loads model versions, serves requests, and shuts down gracefully on SIGTERM."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import resource
import signal
import socket
import sys
from collections.abc import Callable, Coroutine, Iterator, Sequence
from functools import partial
from typing import Any

import uvicorn

from ai_workflow.config.settings import Service as ServiceSettings
from ai_workflow.config.settings import Settings
from ai_workflow.errors import AiWorkflowError
from ai_workflow.http_server.origin_check import OriginGuard, Origins
from ai_workflow.runtime import garbage_collection, process_limit
from ai_workflow.secret_values import Fetch
from ai_workflow.serving.auth import Authenticator
from ai_workflow.serving.connection_limits import Connection, sweep
from ai_workflow.serving.pipeline_service import PipelineService, ServedPipeline
from ai_workflow.serving.pipelines_app import PipelinesApp
from ai_workflow.serving.route_guards import RouteGuards
from ai_workflow.telemetry import logs, metrics, trace_context
from ai_workflow.telemetry.logs import logger

_SWEEP_SECONDS = 1.0
_LAG_SECONDS = 0.1
# Interval after which a thread yields the interpreter: clients wait for the event loop meanwhile.
_SWITCH_SECONDS = 0.001
_MAX_SHUTDOWN_SECONDS = 10
# Threads of a service with two versions, including those of the event loop.
_THREADS = 12
log = logger("serving")


class Service:
    """The inference service of one pipeline or of several.

    Args:
        settings: address, tokens and limits; those of the pipeline if it is the only one.
        fetch: looks up secrets before the environment, if given.
        pipelines: the pipelines; that of `settings` if not given.

    Raises:
        AiWorkflowError: it cannot listen on the address, or a setting does not fit this machine.
    """

    def __init__(
        self, settings: Settings, fetch: Fetch | None = None, pipelines: Sequence[ServedPipeline] = ()
    ) -> None:
        self._service = settings.service
        self._authenticator = Authenticator(self._service, fetch)
        self._origins = Origins.of(os.environ)
        self._pipelines = [PipelineService(pipeline) for pipeline in pipelines or [ServedPipeline(settings)]]
        self._socket = _bind(self._service.host, self._service.port)
        self._drained: asyncio.Task[None] | None = None
        self._is_draining = False

    def run(self) -> None:
        """Serve until SIGTERM or Ctrl-C.

        Raises:
            ProcessLimitError: the limit of processes leaves no room for its threads.
        """
        import uvloop

        process_limit.require_threads(_THREADS * len(self._pipelines))
        _raise_limits()
        _take_over_logging()
        sys.setswitchinterval(_SWITCH_SECONDS)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        # At the same time, so that models that take long to load delay no other pipeline.
        await asyncio.gather(*self._tasks(lambda pipeline: [pipeline.start(self._authenticator, self.drain)]))
        apps = [pipeline.app for pipeline in self._pipelines]
        self._app: Any = apps[0] if len(apps) == 1 else PipelinesApp(self._pipelines, RouteGuards(self._authenticator))
        metrics.get("inference_capacity_requests").set(self._service.max_in_flight * len(apps))
        metrics.get("inference_in_flight_requests").set_function(lambda: sum(app.in_flight for app in apps))
        self._server = _Server(
            uvicorn.Config(
                self._guarded(), http=_connection_factory(self._service), ws="none", lifespan="off", log_config=None,
                access_log=False, server_header=False, date_header=False, proxy_headers=False,
                timeout_keep_alive=int(self._service.idle_seconds) + 1,
                timeout_graceful_shutdown=_MAX_SHUTDOWN_SECONDS,
            )
        )  # fmt: skip
        tasks = [asyncio.create_task(work) for work in (self._sweep(), _watch_lag())]
        tasks += self._tasks(PipelineService.tasks)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.drain)
        garbage_collection.tune_for_server()
        log.info("listening on http://%s:%d", *self._socket.getsockname()[:2])
        try:
            await self._server.serve(sockets=[self._socket])
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*(pipeline.close() for pipeline in self._pipelines))
            log.info("stopped")

    def _tasks(self, work: Callable[[PipelineService], list[Coroutine[Any, Any, None]]]) -> list[asyncio.Task[None]]:
        """Start work of each pipeline; if there are several, log lines of it name the pipeline."""
        tasks: list[asyncio.Task[None]] = []
        for pipeline in self._pipelines:
            name = pipeline.settings.pipeline if len(self._pipelines) > 1 else None
            with trace_context.bound(pipeline=name):
                tasks += [asyncio.create_task(each) for each in work(pipeline)]
        return tasks

    def _guarded(self) -> Any:
        """Return the application; without a token, behind a check of Host and Origin."""
        return self._app if self._service.token else OriginGuard(self._app, self._origins)

    def drain(self) -> None:
        """Start a graceful shutdown: not ready, but serving for a while; a second call stops at once."""
        if self._is_draining:
            self._server.should_exit = True
            return
        self._is_draining = True
        for pipeline in self._pipelines:
            pipeline.app.draining = True
        log.info("shutting down: not ready, serving for another %g s", self._service.drain_seconds)
        self._drained = asyncio.get_running_loop().create_task(self._stop())

    async def _stop(self) -> None:
        await asyncio.sleep(self._service.drain_seconds)
        self._server.should_exit = True

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(_SWEEP_SECONDS)
            if closed := sweep(self._server.server_state.connections, asyncio.get_running_loop().time()):
                log.debug("closed %d slow or idle connections", closed)


class _Server(uvicorn.Server):
    """Uvicorn's server without its signal handlers, which would close connections of the load balancer at once."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Install no signal handlers."""
        yield


async def _watch_lag() -> None:
    """Measure the lag of the event loop, which delays every request."""
    loop, gauge = asyncio.get_running_loop(), metrics.get("event_loop_lag_seconds")
    while True:
        before = loop.time()
        await asyncio.sleep(_LAG_SECONDS)
        gauge.set(max(0.0, loop.time() - before - _LAG_SECONDS))


def _connection_factory(service: ServiceSettings) -> Any:
    """Return the factory of uvicorn's connections, with the limits of a service."""
    return partial(Connection, service)


def _bind(host: str, port: int) -> Any:
    """Return a bound socket that does not listen yet."""
    try:
        family, kind, number, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        server_socket = socket.socket(family, kind, number)
        server_socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server_socket.bind(address)
    except OSError as error:
        raise AiWorkflowError(
            f"cannot listen on {host}:{port} (service.host, service.port): {error.strerror or error}. "
            "Stop the program that listens there, or choose another port"
        ) from error
    return server_socket


def _take_over_logging() -> None:
    """Format the log lines and warnings of all libraries; malformed requests are not logged."""
    logs.capture_all_output()
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)


def _raise_limits() -> None:
    """Raise the limit of open files to the hard limit, because each connection is an open file."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
