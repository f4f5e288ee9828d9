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
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import uvicorn

from ai_workflow.config.settings import Service as ServiceSettings
from ai_workflow.config.settings import Settings
from ai_workflow.errors import AiWorkflowError
from ai_workflow.http_server.origin_check import OriginGuard, Origins
from ai_workflow.inference import fallback
from ai_workflow.registry.registry import Registry
from ai_workflow.runtime import garbage_collection, process_limit
from ai_workflow.secret_values import Fetch
from ai_workflow.serving.app import InferenceApp
from ai_workflow.serving.attempt_metrics import AttemptMetrics
from ai_workflow.serving.auth import Authenticator
from ai_workflow.serving.connection_limits import Connection, sweep
from ai_workflow.serving.endpoints import InferenceEndpoints
from ai_workflow.serving.label_endpoint import LabelEndpoint
from ai_workflow.serving.logs import label_log, prediction_log
from ai_workflow.serving.management_endpoints import ManagementEndpoints
from ai_workflow.serving.request_metrics import RequestMetrics
from ai_workflow.serving.routing.loaded_model import LoadedModel
from ai_workflow.serving.routing.model_pool import ModelPool
from ai_workflow.serving.routing.served_model import ServedModel
from ai_workflow.serving.unseen_categories import UnseenCategories
from ai_workflow.storage.store import Store
from ai_workflow.telemetry import logs, metrics
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
    """One pipeline's inference service.

    Args:
        settings: the configuration.
        fetch: looks up secrets before the environment, if given.

    Raises:
        AiWorkflowError: it cannot listen on the address, or a setting does not fit this machine.
    """

    def __init__(self, settings: Settings, fetch: Fetch | None = None) -> None:
        self._settings, self._service = settings, settings.service
        self._authenticator = Authenticator(self._service, fetch)
        self._origins = Origins.of(os.environ)
        self._store = Store(settings.store.root)
        self._prediction_log = self._open_prediction_log()
        self._labels = self._open_label_log()
        self._socket = _bind(self._service.host, self._service.port)
        self._drained: asyncio.Task[None] | None = None

    def run(self) -> None:
        """Serve until SIGTERM or Ctrl-C.

        Raises:
            ProcessLimitError: the limit of processes leaves no room for its threads.
        """
        import uvloop

        process_limit.require_threads(_THREADS)
        _raise_limits()
        _take_over_logging()
        sys.setswitchinterval(_SWITCH_SECONDS)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        self._request_metrics = RequestMetrics(self._settings.pipeline)
        registry = Registry(self._store, self._settings.models)
        request_metrics = self._request_metrics
        unseen = UnseenCategories(self._settings.pipeline, request_metrics.exemplars)
        pool = ModelPool(registry, self._create_model, self._service.reload_seconds, request_metrics, unseen)
        labels = LabelEndpoint(self._settings, self._labels, request_metrics, pool)
        management = ManagementEndpoints(
            self._settings, pool, self._authenticator, labels, self.drain, lambda: self._app.draining
        )
        endpoints = InferenceEndpoints(self._settings, pool, self._prediction_log, request_metrics, unseen)
        self._app = InferenceApp(self._service, endpoints, self._authenticator, management.app(), request_metrics)
        metrics.get("inference_capacity_requests").set(self._service.max_in_flight)
        metrics.get("inference_in_flight_requests").set_function(lambda: self._app.in_flight)
        self._server = _Server(
            uvicorn.Config(
                self._guarded(), http=_connection_factory(self._service), ws="none", lifespan="off", log_config=None,
                access_log=False, server_header=False, date_header=False, proxy_headers=False,
                timeout_keep_alive=int(self._service.idle_seconds) + 1,
                timeout_graceful_shutdown=_MAX_SHUTDOWN_SECONDS,
            )
        )  # fmt: skip
        await pool.refresh()
        if self._prediction_log is not None:
            self._prediction_log.start()
        tasks = [asyncio.create_task(work) for work in (pool.watch(), self._sweep(), _watch_lag())]
        if self._labels is not None:
            tasks.append(asyncio.create_task(self._labels.watch()))
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
            await pool.close()
            if self._prediction_log is not None:
                await asyncio.to_thread(self._prediction_log.close)
            if self._labels is not None:
                await asyncio.to_thread(self._labels.close)
            log.info("stopped")

    def _guarded(self) -> Any:
        """Return the application; without a token, behind a check of Host and Origin."""
        return self._app if self._service.token else OriginGuard(self._app, self._origins)

    def drain(self) -> None:
        """Start a graceful shutdown: not ready, but serving for a while; a second call stops at once."""
        if self._app.draining:
            self._server.should_exit = True
            return
        self._app.draining = True
        log.info("shutting down: not ready, serving for another %g s", self._service.drain_seconds)
        self._drained = asyncio.get_running_loop().create_task(self._stop())

    async def _stop(self) -> None:
        await asyncio.sleep(self._service.drain_seconds)
        self._server.should_exit = True

    def _create_model(self, loaded: LoadedModel) -> ServedModel:
        attempt_timeout = fallback.ATTEMPT_SHARE * self._settings.inference.deadline_ms / 1000
        attempts = AttemptMetrics(self._settings.pipeline, loaded.name, self._request_metrics.exemplars)
        return ServedModel(loaded, attempts, self._service.max_queue, attempt_timeout, self._settings.model.timeout)

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(_SWEEP_SECONDS)
            if closed := sweep(self._server.server_state.connections, asyncio.get_running_loop().time()):
                log.debug("closed %d slow or idle connections", closed)

    def _open_prediction_log(self) -> prediction_log.PredictionLog | None:
        options, pipeline = self._service.prediction_log, self._settings.pipeline
        if not options.enabled:
            return None
        if options.folder is not None:
            folder = Path(options.folder) / pipeline
        elif self._store.is_local:
            folder = self._store.local(f"{prediction_log.FOLDER}/{pipeline}")
        else:
            raise AiWorkflowError(
                "service.prediction_log.folder is not set: predictions need a local folder before they are moved to "
                f"{self._store.root}. Set it, or set service.prediction_log.enabled: false"
            )
        command = ["-m", "ai_workflow.serving.logs.compaction", self._store.root, str(folder), pipeline]
        return prediction_log.PredictionLog(
            folder,
            values=options.values,
            id_column=self._settings.id,
            segment_seconds=options.segment_seconds,
            compact=command,
        )

    def _open_label_log(self) -> label_log.LabelLog | None:
        options, pipeline = self._service.prediction_log, self._settings.pipeline
        folder = label_log.segment_folder(self._store, options.folder, pipeline)
        return label_log.LabelLog(self._store, folder, pipeline, options.segment_seconds) if folder else None


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
