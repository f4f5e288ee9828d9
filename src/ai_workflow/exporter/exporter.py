"""The exporter: one process for a store, asked by Prometheus, that changes nothing and can be restarted at any time."""

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
from ai_workflow.exporter.collector import Collecting
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

# Between two looks: on a disk one costs a millisecond, on an object store each is requests.
LOCAL_SECONDS, REMOTE_SECONDS = 1.0, 30.0
SOURCES = ("journal", "checkpoints", "registry", "evaluations", "disk", "expected", schedule_source.NAME)
_END = {signal.SIGTERM, signal.SIGINT}
# Threads that collect, listen and answer scrapes.
_THREADS = 4
log = logger("exporter")


class Exporter:
    """Looks at a store in one thread and answers scrapes in others.

    Args:
        settings: with the store, the environment and what is expected.
        env: where PREFECT_API_URL and its credentials are looked up.
        seconds: between two looks, if not as long as the kind of the store asks for.
    """

    def __init__(self, settings: Settings, env: Mapping[str, str], seconds: float | None = None) -> None:
        self._origins = Origins.of(env)
        self._store = Store(settings.store.root)
        self._failures = Failures(SOURCES)
        self._ended = threading.Event()
        self._schedules = self._asking_prefect(env)
        models = settings.models.rpartition("/")[0]
        runs = JournalSource(self._store, self._failures)
        registry = RegistrySource(self._store, models, self._failures)
        scheduled = self._schedules.known if self._schedules else dict[tuple[str, str], float]
        sources = (
            runs,
            CheckpointSource(self._store, runs.at_work),
            registry,
            EvaluationSource(self._store, registry.shown, self._failures),
            DiskSource(self._store),
            ExpectedSource(settings.monitoring.expected_hours, runs.flows, scheduled),
        )
        usual = LOCAL_SECONDS if self._store.is_local else REMOTE_SECONDS
        self.collecting = Collecting(sources, self._failures, usual if seconds is None else seconds)
        self.registry = CollectorRegistry()
        self.registry.register(StoreCollector(self.collecting.samples))
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)

    def run(self, host: str, port: int) -> None:
        """Answer scrapes until SIGTERM or Ctrl-C.

        Raises:
            AiWorkflowError: the address is taken, or not one of this machine, or there is no room for its threads.
        """
        process_limit.require_threads(_THREADS)
        # Blocked in all threads, so that the wait below is what takes them.
        signal.pthread_sigmask(signal.SIG_BLOCK, _END)
        try:
            server = metrics_server.listen(host, port, wsgi_guard(make_wsgi_app(self.registry), self._origins))
        except OSError as error:
            raise AiWorkflowError(_refused(host, port, error)) from error
        if self._schedules:
            self._schedules.start(self._ended)
        log.info("listening on http://%s:%d/metrics; the store is %s", host, server.server_port, self._store.root)
        threading.Thread(target=self.collecting.keep, args=(self._ended,), name="collecting", daemon=True).start()
        signal.sigwait(_END)
        self._ended.set()
        server.shutdown()
        log.info("ended")

    def _asking_prefect(self, env: Mapping[str, str]) -> ScheduleSource | None:
        url = env.get("PREFECT_API_URL")
        if not url:
            return None
        return ScheduleSource(PrefectSchedules(url, env, _pipeline_of), self._failures)


def main(pipeline: Path | None, store: str | None, environment: str | None, host: str, port: int) -> None:
    """Run the exporter with the configuration that applies.

    Raises:
        StoreError: `store` is a file; a folder may be created later, by the first run.
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


def _refused(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {port} of {host} is taken by another process. End that one, or choose another: --port"
    return f"{host}:{port} cannot be listened on: {error.strerror or error}. Name an address of this machine: --host"
