"""The table of what the stack runs, in the order of its start; containers and units run the same commands."""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from signal import SIGINT, SIGTERM, Signals

from ai_workflow.local.health import GUARD_PATH

# What is only for those who need it: each service is given its own, and none of the others.
SECRETS = (
    "PREFECT_LOGIN", "PREFECT_ENCRYPTION_KEY", "INFERENCE_TOKEN", "INFERENCE_LABEL_TOKEN", "INFERENCE_ADMIN_TOKEN",
    "RELAY_TOKEN", "MONITORING_PASSWORD", "DATABASE_PASSWORD", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY",
)  # fmt: skip
_STORE = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")


@dataclass(frozen=True, slots=True)
class Service:
    """One program of the stack.

    Args:
        name: as logs, containers and units call it.
        title: as a person calls it.
        command: program and arguments; `{host}`, `{port}`, `{folder}`, where it keeps its data, and `{outer_port}` and
            `{inner_port}`, those of its guard and of the service that it guards, are filled in.
        port: where it listens; None if it does not.
        health: path that answers 200 as long as it is well.
        page: path of what a person wants to see; None if a guard shows it.
        secrets: those of `SECRETS` that it is given.
        asks_prefect: whether it is given the address and the login of the Prefect server.
        stop: the signal that asks it to end.
        stop_seconds: how long it may take to end.
        stop_group: whether its children are asked as well.
        job: as what Prometheus asks it.
        requires_login: whether it requires the login of `ai_workflow.local.login`.
        guards: the service that it guards; it is left out where that is not installed.
        others: names that the program has elsewhere; it is left out where none of them is installed.
        install: the line that installs it.
    """

    name: str
    title: str
    command: tuple[str, ...]
    port: int | None = None
    health: str | None = None
    page: str | None = ""
    secrets: tuple[str, ...] = ()
    asks_prefect: bool = False
    stop: Signals = SIGTERM
    stop_seconds: int = 10
    stop_group: bool = False
    job: str | None = None
    requires_login: bool = False
    guards: str | None = None
    others: tuple[str, ...] = ()
    install: str | None = None

    @property
    def program(self) -> str | None:
        """The path of its program, None if it is not installed; ours are beside the Python that runs."""
        if self.install is None:
            return str(Path(sys.executable).parent / self.command[0])
        return next((path for name in (*self.others, self.command[0]) if (path := shutil.which(name))), None)


SERVICES = (
    Service(
        "server", "Prefect",
        ("python", "-m", "ai_workflow.local.prefect_server", "--host", "{host}", "--port", "{port}"),
        port=4200, health="/api/health", secrets=("PREFECT_LOGIN", "PREFECT_ENCRYPTION_KEY"), stop_seconds=30,
    ),
    Service(
        "worker", "Prefect worker",
        ("prefect", "worker", "start", "--pool", "ai-workflow"),
        secrets=("DATABASE_PASSWORD", *_STORE), asks_prefect=True,
        # Its runs end with it: recovery goes on with them from their last checkpoint.
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
        port=9109, health="/metrics", page="/metrics", job="exporter", secrets=_STORE, asks_prefect=True,
    ),
    Service(
        "relay", "alert relay",
        ("ai-workflow", "relay", "--host", "{host}", "--port", "{port}"),
        port=9110, health="/health", page="/health", job="relay", secrets=("RELAY_TOKEN",), asks_prefect=True,
        stop_seconds=20,
    ),
    Service(
        "prometheus", "Prometheus",
        ("prometheus", "--config.file={folder}/prometheus.yml", "--storage.tsdb.path={folder}/data",
         "--web.listen-address={host}:{port}", "--web.config.file={folder}/web.yml",
         "--web.external-url=http://{host}:{outer_port}/",
         # By default pages of every site may read.
         r"--web.cors.origin=https?://(localhost|127\.0\.0\.1):{outer_port}"),
        port=9111, health="/-/ready", page=None, job="prometheus", requires_login=True, stop_seconds=30,
        install="apt-get install prometheus",
    ),
    Service(
        "alertmanager", "Alertmanager",
        ("alertmanager", "--config.file={folder}/alertmanager.yml", "--storage.path={folder}/data",
         # Longer than the longest repetition of monitoring/slo.yaml, which is told too often else.
         "--data.retention=240h", "--cluster.listen-address=", "--web.listen-address={host}:{port}",
         "--web.config.file={folder}/web.yml", "--web.external-url=http://{host}:{outer_port}/"),
        port=9112, health="/-/ready", page=None, job="alertmanager", requires_login=True,
        others=("prometheus-alertmanager",), install="apt-get install prometheus-alertmanager",
    ),
    # What people and browsers reach of the two: see `ai_workflow.local.guard`.
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
# Prefect's database, where it is not a file: before the server, and only if it is asked for.
POSTGRESQL = Service("postgresql", "PostgreSQL", (), port=5442, stop=SIGINT, stop_seconds=30)
