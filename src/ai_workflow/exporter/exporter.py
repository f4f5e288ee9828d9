"""Prometheus exporter: one process per store. It only reads, and can be restarted at any time."""

from __future__ import annotations

import errno
import os
import signal
import threading
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector, make_wsgi_app

from ai_workflow.config import loader, variables
from ai_workflow.config.settings import Settings
from ai_workflow.errors import AiWorkflowError
from ai_workflow.exporter import metrics_server, schedule_source
from ai_workflow.exporter.checkpoint_source import CheckpointSource
from ai_workflow.exporter.collector import Collector
from ai_workflow.exporter.disk_source import DiskSource
from ai_workflow.exporter.evaluation_source import EvaluationSource
from ai_workflow.exporter.expected_source import ExpectedSource
from ai_workflow.exporter.exposition import StoreCollector
from ai_workflow.exporter.failures import Failures
from ai_workflow.exporter.journal_source import JournalSource
from ai_workflow.exporter.prefect_schedules import PrefectSchedules
from ai_workflow.exporter.registry_source import RegistrySource
from ai_workflow.exporter.schedule_source import ScheduleSource
from ai_workflow.http_server.origin_check import Origins, wsgi_guard
from ai_workflow.runtime import process_limit
from ai_workflow.storage.store import Store
from ai_workflow.telemetry import logs
from ai_workflow.telemetry.logs import logger

# Interval between two collections: one takes a millisecond on a disk, and many requests on an object store.
LOCAL_SECONDS, REMOTE_SECONDS = 1.0, 30.0
SOURCES = ("journal", "checkpoints", "registry", "evaluations", "disk", "expected", schedule_source.NAME)
_STOP_SIGNALS = {signal.SIGTERM, signal.SIGINT}
# Threads that collect, listen and serve scrapes.
_THREADS = 4
log = logger("exporter")


class Exporter:
    """Exporter that reads a store in one thread and serves scrapes in others.

    Args:
        settings: configuration with the store, the environment and the expected intervals.
        env: environment variables with PREFECT_API_URL and its credentials.
        seconds: interval between two collections; the default depends on the kind of the store.
    """

    def __init__(self, settings: Settings, env: Mapping[str, str], seconds: float | None = None) -> None:
        self._origins = Origins.of(env)
        self._store = Store(settings.store.root)
        self._failures = Failures(SOURCES)
        self._stopped = threading.Event()
        self._schedules = self._schedule_source(env, settings.environment)
        models = settings.models.rpartition("/")[0]
        runs = JournalSource(self._store, self._failures)
        registry = RegistrySource(self._store, models, self._failures)
        scheduled = self._schedules.intervals if self._schedules else dict[tuple[str, str], float]
        sources = (
            runs,
            CheckpointSource(self._store, runs.running_trainings),
            registry,
            EvaluationSource(self._store, registry.visible_versions, self._failures),
            DiskSource(self._store),
            ExpectedSource(settings.monitoring.expected_hours, runs.flows, scheduled),
        )
        default = LOCAL_SECONDS if self._store.is_local else REMOTE_SECONDS
        self.collector = Collector(sources, self._failures, default if seconds is None else seconds)
        self.registry = CollectorRegistry()
        self.registry.register(StoreCollector(self.collector.samples))
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)

    def run(self, host: str, port: int) -> None:
        """Serve scrapes until SIGTERM or Ctrl-C.

        Raises:
            AiWorkflowError: the address is in use or not local, or the process limit leaves no threads.
        """
        process_limit.require_threads(_THREADS)
        # Blocked in all threads, so that `sigwait` below receives the signals.
        signal.pthread_sigmask(signal.SIG_BLOCK, _STOP_SIGNALS)
        try:
            server = metrics_server.listen(host, port, wsgi_guard(make_wsgi_app(self.registry), self._origins))
        except OSError as error:
            raise AiWorkflowError(_listen_error(host, port, error)) from error
        if self._schedules:
            self._schedules.start(self._stopped)
        log.info("listening on http://%s:%d/metrics; the store is %s", host, server.server_port, self._store.root)
        threading.Thread(target=self.collector.run, args=(self._stopped,), name="collector", daemon=True).start()
        signal.sigwait(_STOP_SIGNALS)
        self._stopped.set()
        server.shutdown()
        log.info("stopped")

    def _schedule_source(self, env: Mapping[str, str], environment: str) -> ScheduleSource | None:
        url = env.get("PREFECT_API_URL")
        if not url:
            return None
        return ScheduleSource(PrefectSchedules(url, env, _pipeline_of, environment), self._failures)


def main(pipeline: Path | None, store: str | None, environment: str | None, host: str, port: int) -> None:
    """Run the exporter.

    Raises:
        StoreError: `store` is a file. A missing folder is allowed, because the first run creates it.
    """
    overrides = {"store.root": store} if store else None
    loaded = loader.load(pipeline, environment=environment, overrides=overrides)
    variables.check(loaded, os.environ, "exporter")
    settings = loaded.settings
    if store:
        Store(store).require(exists=False)
    logs.setup(settings.logging.level, settings.logging.format)
    logs.capture_all_output()
    Exporter(settings, os.environ).run(host, port)


@cache
def _pipeline_of(pipeline: str | None, environment: str | None) -> str:
    return loader.load(pipeline, environment=environment).settings.pipeline


def _listen_error(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {port} of {host} is taken by another process. Stop it, or choose another port: --port"
    return f"cannot listen on {host}:{port}: {error.strerror or error}. Choose an address of this machine: --host"
