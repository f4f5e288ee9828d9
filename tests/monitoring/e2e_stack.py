"""All of it at once, in trouble: service, exporter, relay, Alertmanager and Prometheus, with faults for every panel."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ai_workflow.registry import publication
from ai_workflow.registry.registry import Registry
from ai_workflow.storage.store import Store
from ai_workflow.telemetry import journal
from ai_workflow.training.checkpoints import Checkpoints
from tests import services
from tests.monitoring import live_prometheus
from tests.monitoring.exporter import evaluations
from tests.monitoring.exporter.exporter_stores import NOON, Book, Exporting
from tests.monitoring.live_prometheus import Prometheus
from tests.monitoring.paths import GENERATED
from tests.monitoring.relay import fake_vendors
from tests.monitoring.relay.fake_vendors import Vendors
from tests.monitoring.relay.running_relay import LIVELY, TOKEN, RunningRelay
from tests.serving import published_models
from tests.serving.running_service import Running, dumps
from tests.serving.traffic import Traffic

STABLE, LATEST = "model_v1.0", "model_v1.1"
# Two pipelines whose versions have the same names, as the first ones of all pipelines do.
PIPELINES = (published_models.PIPELINE, "credit")
EXPECTED = "monitoring: {expected_hours: {training: 24, scoring: 1}}\n"


@dataclass
class WholeSystem:
    """What runs; `began` is when Prometheus began to look."""

    store: Store
    faults: Path
    running: Running
    prometheus: Prometheus
    began: float
    labeled: int = 1000

    def live_through_faults(self) -> None:
        """Answer by latest, refuse while it hangs, answer by stable, then by the default; latest stays broken."""
        with Traffic(self.running.port, dumps([published_models.ROW]), 30):
            self._until('inference_total{model_version="model_v1.1",pipeline="shop",status="success"}', 20)
            with Traffic(self.running.port, dumps([published_models.ROW]), 300):
                (self.faults / LATEST).write_text("hang")
                self._until('inference_requests_total{pipeline="shop",status="rejected"}', 8)
            self._until('inference_total{model_version="model_v1.0",pipeline="shop",status="fallback"}', 20)
            (self.faults / STABLE).write_text("raise")
            self._until('inference_requests_total{pipeline="shop",status="default"}', 20)
            (self.faults / STABLE).unlink()

    def go_on(self) -> None:
        """Let labels come: seven in ten predictions were right."""
        self.labeled += 10
        for pipeline in PIPELINES:
            for version in (STABLE, LATEST):
                evaluations.write(
                    self.store, pipeline, version, labeled_total=self.labeled,
                    correct_total=self.labeled * 7 // 10, last_label=time.time(),
                    window={**evaluations.RECORD["window"], "accuracy": 0.7, "lower": 0.65, "upper": 0.75},
                )  # fmt: skip

    def _until(self, series: str, count: int) -> None:
        self.running.until(lambda: self.running.metrics().get(series, 0) >= count)


@contextmanager
def whole_system(folder: Path) -> Iterator[WholeSystem]:
    """Start everything; Prometheus first, so that it sees the service missing and then come."""
    root, faults = folder / "store", folder / "faults"
    faults.mkdir()
    _fill(root)
    (folder / "expected.yaml").write_text(EXPECTED)
    ports = {job: services.free_port() for job in ("inference", "alertmanager", "prometheus")}
    with ExitStack() as stack:
        vendors = stack.enter_context(fake_vendors.running(folder))
        vendors.faults["feishu"] = "refuse"
        relay = stack.enter_context(RunningRelay(folder, _channels(vendors)))
        routes = alerting(relay.port)
        stack.enter_context(live_prometheus.alertmanager(folder / "alertmanager", routes, ports["alertmanager"]))
        exporting = stack.enter_context(Exporting(root, AIW_CONFIG=str(folder / "expected.yaml")))
        targets = {**ports, "exporter": exporting.port, "relay": relay.port}
        config = live_prometheus.scraping(
            targets, alertmanager=ports["alertmanager"], rules=impatient(folder / "rules")
        )
        began = time.time()
        prometheus = stack.enter_context(live_prometheus.prometheus(folder / "prometheus", config, ports["prometheus"]))
        prometheus.until('ALERTS{alertname="SLOMetricAbsent",alertstate="firing"}')
        pipeline = published_models.pipeline(folder, service={"port": ports["inference"], "max_in_flight": 2})
        running = stack.enter_context(Running(pipeline, root, faults))
        yield WholeSystem(Store(root), faults, running, prometheus, began)


def impatient(folder: Path) -> Path:
    """Write the generated rules so that no alert waits before it fires, and return where."""
    folder.mkdir()
    for path in (GENERATED / "prometheus" / "rules").glob("*.yaml"):
        body = yaml.safe_load(path.read_text())
        for rule in (rule for group in body["groups"] for rule in group["rules"] if "alert" in rule):
            rule["for"] = "0s"
        (folder / path.name).write_text(yaml.safe_dump(body))
    return folder


def alerting(relay: int) -> dict[str, Any]:
    """Return the generated `alertmanager.yml` that posts to a relay on this port, and does not wait for more."""
    found: dict[str, Any] = yaml.safe_load((GENERATED / "alertmanager" / "alertmanager.yml").read_text())
    for route in (found["route"], *found["route"]["routes"]):
        route |= {"group_wait": "0s", "group_interval": "1s"}
    for receiver in found["receivers"]:
        for webhook in receiver.get("webhook_configs", []):
            webhook["url"] = f"http://{services.LOOPBACK}:{relay}/alertmanager"
            webhook["http_config"] = {"authorization": {"credentials": TOKEN}}
    return found


def _channels(vendors: Vendors) -> list[dict[str, Any]]:
    return [vendors.channel(kind, **LIVELY) for kind in ("slack", "feishu")]


def _fill(root: Path) -> None:
    """Write what pipelines leave behind: versions, runs that succeeded, failed and go on, and checkpoints."""
    store = Store(root)
    for number, pipeline in enumerate(PIPELINES):
        registry = Registry(store, f"models/development/{pipeline}")
        about = {"kind": "lightgbm", "model_file": "model.txt", "task": "classification", "scores": {}}
        for seed in (0, 1):
            publication.publish(registry, published_models.files(seed), "a", {**about, "pipeline": pipeline})
        Checkpoints(store, pipeline, "f" * 16, 2).save(1, b"state", {})
        book = {"pipeline": pipeline}
        past = time.time() - NOON - 3600
        Book(store, f"{number}a" * 16, **book).run(past, journal.SUCCESS, "loader", "trainer")
        Book(store, f"{number}b" * 16, flow="scoring", **book).run(past, journal.SUCCESS, "loader")
        Book(store, f"{number}c" * 16, flow="scoring", **book).run(past + 600, journal.ERROR, "loader")
        Book(store, f"{number}d" * 16, **book).say(journal.RUN, journal.STARTED, past + 1200)
