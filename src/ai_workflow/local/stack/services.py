"""Table of the services of the stack, in start order; containers and systemd units run the same commands."""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from signal import SIGINT, SIGTERM, Signals

from ai_workflow.local.health import GUARD_PATH

# Variables with secrets; each service gets only those that it needs.
SECRETS = (
    "PREFECT_LOGIN", "PREFECT_ENCRYPTION_KEY", "INFERENCE_TOKEN", "INFERENCE_LABEL_TOKEN", "INFERENCE_ADMIN_TOKEN",
    "RELAY_TOKEN", "MONITORING_PASSWORD", "DATABASE_PASSWORD", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY",
)  # fmt: skip
_STORE = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")


@dataclass(frozen=True, slots=True)
class Service:
    """A program of the stack.

    Args:
        name: name in logs, containers and units.
        title: name in messages.
        command: program and arguments, with the placeholders `{host}`, `{port}`, `{folder}` (data folder),
            `{outer_port}` (port of its guard) and `{inner_port}` (port of the service that it guards).
        port: port that it listens on, or None.
        health: path of its health check.
        page: path of its web page; None if a guard shows it.
        secrets: the variables of `SECRETS` that it gets.
        uses_prefect: whether it gets URL and login of the Prefect server.
        stop: signal that stops it.
        stop_seconds: time limit for a stop.
        stop_group: whether its child processes get the signal as well.
        job: job name in Prometheus.
        requires_login: whether it requires the login of `ai_workflow.local.login`.
        guards: name of the service that it guards; it is not started if that is not installed.
        alternative_names: alternative names of the program; it is not started if none is installed.
        install: command that installs it.
    """

    name: str
    title: str
    command: tuple[str, ...]
    port: int | None = None
    health: str | None = None
    page: str | None = ""
    secrets: tuple[str, ...] = ()
    uses_prefect: bool = False
    stop: Signals = SIGTERM
    stop_seconds: int = 10
    stop_group: bool = False
    job: str | None = None
    requires_login: bool = False
    guards: str | None = None
    alternative_names: tuple[str, ...] = ()
    install: str | None = None

    @property
    def program(self) -> str | None:
        """Path of the program, None if it is not installed; programs of this project are beside the running Python."""
        if self.install is None:
            return str(Path(sys.executable).parent / self.command[0])
        return next((path for name in (*self.alternative_names, self.command[0]) if (path := shutil.which(name))), None)


SERVICES = (
    Service(
        "server", "Prefect",
        ("python", "-m", "ai_workflow.local.prefect_server", "--host", "{host}", "--port", "{port}"),
        port=4200, health="/api/health", secrets=("PREFECT_LOGIN", "PREFECT_ENCRYPTION_KEY"), stop_seconds=30,
    ),
    Service(
        "worker", "Prefect worker",
        ("prefect", "worker", "start", "--pool", "ai-workflow"),
        secrets=("DATABASE_PASSWORD", *_STORE), uses_prefect=True,
        # Its runs end with it; recovery resumes them from their last checkpoint.
        stop_group=True, stop_seconds=60,
    ),
    Service(
        "service", "inference service",
        ("ai-workflow", "serve"),
        port=8080, health="/v2/health/live", page="/v2/health/ready", job="inference",
        secrets=("INFERENCE_TOKEN", "INFERENCE_LABEL_TOKEN", "INFERENCE_ADMIN_TOKEN", *_STORE), stop_seconds=35,
    ),
    Service(
        "exporter", "exporter",
        ("ai-workflow", "exporter", "--host", "{host}", "--port", "{port}"),
        port=9109, health="/metrics", page="/metrics", job="exporter", secrets=_STORE, uses_prefect=True,
    ),
    Service(
        "relay", "alert relay",
        ("ai-workflow", "relay", "--host", "{host}", "--port", "{port}"),
        port=9110, health="/health", page="/health", job="relay", secrets=("RELAY_TOKEN",), uses_prefect=True,
        stop_seconds=20,
    ),
    Service(
        "prometheus", "Prometheus",
        ("prometheus", "--config.file={folder}/prometheus.yml", "--storage.tsdb.path={folder}/data",
         "--web.listen-address={host}:{port}", "--web.config.file={folder}/web.yml",
         "--web.external-url=http://{host}:{outer_port}/",
         # By default, pages of every site may read.
         r"--web.cors.origin=https?://(localhost|127\.0\.0\.1):{outer_port}"),
        port=9111, health="/-/ready", page=None, job="prometheus", requires_login=True, stop_seconds=30,
        install="apt-get install prometheus",
    ),
    Service(
        "alertmanager", "Alertmanager",
        ("alertmanager", "--config.file={folder}/alertmanager.yml", "--storage.path={folder}/data",
         # Longer than the longest repeat interval in monitoring/slo.yaml; else notifications repeat too often.
         "--data.retention=240h", "--cluster.listen-address=", "--web.listen-address={host}:{port}",
         "--web.config.file={folder}/web.yml", "--web.external-url=http://{host}:{outer_port}/"),
        port=9112, health="/-/ready", page=None, job="alertmanager", requires_login=True,
        alternative_names=("prometheus-alertmanager",), install="apt-get install prometheus-alertmanager",
    ),
    # Entry points of the two for browsers, see `ai_workflow.local.guard`.
    Service(
        "prometheus-guard", "Prometheus UI",
        ("python", "-m", "ai_workflow.local.guard", "--host", "{host}", "--port", "{port}",
         "--upstream", "http://{host}:{inner_port}"),
        port=9090, health=GUARD_PATH, page="/alerts", guards="prometheus",
    ),
    Service(
        "alertmanager-guard", "Alertmanager UI",
        ("python", "-m", "ai_workflow.local.guard", "--host", "{host}", "--port", "{port}",
         "--upstream", "http://{host}:{inner_port}"),
        port=9093, health=GUARD_PATH, guards="alertmanager",
    ),
)  # fmt: skip
SERVICE = next(service for service in SERVICES if service.name == "service")
# The database of Prefect if `make up DB=postgresql` is used; started before the server.
POSTGRESQL = Service("postgresql", "PostgreSQL", (), port=5442, stop=SIGINT, stop_seconds=30)
