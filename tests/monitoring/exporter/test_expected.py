"""How often a run is expected: what is configured, else what is scheduled; a Prefect that is gone hides nothing."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from ai_workflow.errors import AiWorkflowError
from ai_workflow.exporter.collector import Collector
from ai_workflow.exporter.expected_source import NAME, ExpectedSource
from ai_workflow.exporter.failures import Failures
from ai_workflow.exporter.intervals import seconds
from ai_workflow.exporter.prefect_schedules import PrefectSchedules
from ai_workflow.exporter.samples import Sample
from ai_workflow.exporter.schedule_source import ScheduleSource
from ai_workflow.local.server import Server
from ai_workflow.storage.store import Store
from ai_workflow.telemetry import journal
from tests import prefect_retry
from tests.monitoring.exporter.exporter_stores import SOURCES, Book, Exporting

HOUR, DAY = 3600.0, 86400.0


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ({"interval": 600.0, "anchor_date": "2026-01-01T00:00:00Z"}, 600),
        ({"cron": "*/5 * * * *", "timezone": None}, 300),
        ({"cron": "0 9 * * *", "timezone": "Asia/Shanghai"}, DAY),
        ({"cron": "0 9 * * 1-5"}, 3 * DAY),
        ({"cron": "*/30 8-17 * * *"}, 14.5 * HOUR),
        ({"cron": "0 9 * * 1"}, 7 * DAY),
        ({"cron": "0 0 1 * *"}, 31 * DAY),
        ({"rrule": "FREQ=DAILY"}, None),
    ],
    ids=lambda value: str(value.get("cron") or value) if isinstance(value, dict) else None,
)
def test_expected_interval_is_longest_schedule_gap(schedule: dict[str, Any], expected: float | None) -> None:
    assert seconds(schedule) == expected


def test_configured_interval_overrides_schedule() -> None:
    ran = [("credit", "training"), ("churn", "training"), ("credit", "scoring")]
    scheduled = {("credit", "training"): DAY, ("credit", "scoring"): HOUR, ("credit", "promotion"): 600.0}
    hours = {"training": 24.0, "churn/training": 168.0, "new/evaluation": 1.0}
    found = ExpectedSource(hours, lambda: ran, lambda: scheduled).collect()
    assert {sample.labels: sample.value for sample in found} == {
        ("credit", "training"): DAY, ("churn", "training"): 7 * DAY, ("credit", "scoring"): HOUR,
        ("new", "evaluation"): HOUR,
    }, "promotion leaves no journal: it would be missed for ever"  # fmt: skip


class Broken:
    name = "registry"

    def collect(self) -> list[Sample]:
        raise OSError("the disk is gone")


def test_failed_source_is_counted_and_others_exported(caplog: pytest.LogCaptureFixture) -> None:
    failures = Failures(SOURCES)
    collector = Collector([Broken(), ExpectedSource({"credit/training": 1.0}, list, dict)], failures, 1)
    for _ in range(3):
        collector.collect()
    found = {(sample.name, sample.labels): sample.value for sample in collector.samples()}
    assert found["exporter_source_failures_total", ("registry",)] == 3
    assert found["exporter_source_failures_total", ("journal",)] == 0
    assert found[NAME, ("credit", "training")] == HOUR
    assert caplog.text.count("the disk is gone") == 1, "said once, however often it is looked at"


def _pipeline_of(config: str | None, environment: str | None) -> str:
    if config == "elsewhere.yaml":
        raise AiWorkflowError("no such file")
    hash(config)
    return config.removesuffix(".yaml") if config else f"sample-{environment}" if environment else "sample"


class _Prefect(BaseHTTPRequestHandler):
    """Answers as the API of a Prefect 3 server does, with more deployments than fit on a page."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        everything = self.server.answers[self.path]  # type: ignore[attr-defined]
        body = json.dumps(everything[asked["offset"] : asked["offset"] + asked["limit"]]).encode()
        self.send_response(200 if self.headers["authorization"] == "Bearer key" else 401)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


class _Guarded(_Prefect):
    """Wants a CSRF token, as Prefect does where it is protected so, and a new one after a few questions."""

    asked = 0

    def do_GET(self) -> None:
        client = parse_qs(urlsplit(self.path).query)["client"][0]
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps({"token": self._token(client)}).encode())

    def do_POST(self) -> None:
        type(self).asked += 1
        client = self.headers["prefect-csrf-client"]
        if client and self.headers["prefect-csrf-token"] == self._token(client):
            super().do_POST()
        else:
            self.send_error(403, "Missing CSRF token.")

    def _token(self, client: str) -> str:
        return f"{client}-{self.asked // 3}"


@contextmanager
def _prefect(deployments: list[dict[str, Any]], handler: type[_Prefect] = _Prefect) -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), handler)
    flows = [{"id": "t", "name": "training"}, {"id": "s", "name": "scoring"}]
    server.answers = {"/api/flows/filter": flows, "/api/deployments/filter": deployments}  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/api"
    finally:
        server.shutdown()
        server.server_close()


def _deployment(flow: str, *intervals: float, active: bool = True, **more: Any) -> dict[str, Any]:
    schedules = [{"active": active, "schedule": {"interval": interval}} for interval in intervals]
    return {"flow_id": flow, "paused": False, "parameters": {}, "schedules": schedules, **more}


@pytest.mark.integration
def test_unreadable_deployments_are_skipped() -> None:
    deployments = [
        _deployment("t", DAY),
        _deployment("s", DAY, HOUR),
        _deployment("t", 60, paused=True),
        _deployment("t", 60, active=False),
        _deployment("t"),
        _deployment("t", 60, parameters={"config": "elsewhere.yaml"}),
        *[
            {**_deployment("t"), "schedules": [{"active": True, "schedule": schedule}]}
            for schedule in ({"cron": "whenever"}, {"cron": "0 0 30 2 *"}, {"cron": "@daily", "timezone": "On/Mars"})
        ],
        # Of somebody else, who means another thing by `config`.
        _deployment("t", 60, parameters={"config": {"a": "mapping"}}),
        *[_deployment("t", 7 * DAY, parameters={"config": f"p{number}.yaml"}) for number in range(400)],
    ]
    with _prefect(deployments) as url:
        found = PrefectSchedules(url, {"PREFECT_API_KEY": "key"}, _pipeline_of).expected()
        failures = Failures(SOURCES)
        refused = ScheduleSource(PrefectSchedules(url, {}, _pipeline_of), failures)
        refused.refresh()
    assert found.pop(("sample", "training")) == DAY
    assert found.pop(("sample", "scoring")) == HOUR
    assert found == {(f"p{number}", "training"): 7 * DAY for number in range(400)}
    assert refused.intervals() == {}
    assert [sample.value for sample in failures.samples() if sample.labels == ("prefect",)] == [1]


@pytest.mark.integration
def test_schedules_of_other_environments_are_left_out() -> None:
    deployments = [
        _deployment("t", DAY, parameters={"environment": "production"}),
        _deployment("t", HOUR, parameters={"environment": "staging"}),
        _deployment("s", HOUR),
    ]
    with _prefect(deployments) as url:
        found = {
            environment: PrefectSchedules(url, {"PREFECT_API_KEY": "key"}, _pipeline_of, environment).expected()
            for environment in ("production", "staging", "development")
        }
    scoring = {("sample", "scoring"): HOUR}
    assert found["production"] == scoring | {("sample-production", "training"): DAY}
    assert found["staging"] == scoring | {("sample-staging", "training"): HOUR}
    # Nothing of the environment is deployed, as by `prefect deploy` alone: all are taken.
    assert found["development"] == found["production"] | found["staging"]


@pytest.mark.integration
def test_csrf_protected_server_is_queried_with_token() -> None:
    with _prefect([_deployment("t", DAY)], _Guarded) as url:
        schedules = PrefectSchedules(url, {"PREFECT_API_KEY": "key"}, _pipeline_of)
        found = [schedules.expected() for _ in range(4)]
        failures = Failures(SOURCES)
        ScheduleSource(PrefectSchedules(url, {}, _pipeline_of), failures).refresh()
    assert found == [{("sample", "training"): DAY}] * 4
    assert [sample.value for sample in failures.samples() if sample.labels == ("prefect",)] == [1]


@pytest.mark.slow
def test_hung_prefect_server_does_not_delay_metrics(tmp_path: Path) -> None:
    Book(Store(tmp_path)).run(0, journal.SUCCESS, "trainer")
    with socket.socket() as hanging:
        hanging.bind(("127.0.0.1", 0))
        hanging.listen()
        url = f"http://127.0.0.1:{hanging.getsockname()[1]}/api"
        with Exporting(tmp_path, PREFECT_API_URL=url) as exporting:
            assert exporting.metrics()['pipeline_last_run_failed{flow="training",pipeline="credit"}'] == 0
            before = exporting.metrics()["exporter_last_collect_timestamp_seconds"]
            exporting.until(lambda found: found["exporter_last_collect_timestamp_seconds"] > before)


@pytest.mark.slow
def test_prefect_server_schedules_are_exported_as_expected_intervals(tmp_path: Path, prefect_server: Server) -> None:
    def post(path: str, body: dict[str, Any]) -> Any:
        with prefect_retry.client(prefect_server.api_url) as api:
            return api.post(path, json=body).raise_for_status().json()

    name = f"exporter-{time.time_ns()}"
    for flow, schedule in (("training", {"cron": "0 9 * * 1-5", "timezone": "UTC"}), ("scoring", {"interval": 3600})):
        flow_id = post("/flows/", {"name": flow})["id"]
        schedules = [{"active": True, "schedule": schedule}]
        post("/deployments/", {"name": name, "flow_id": flow_id, "schedules": schedules, "parameters": {}})
    with Exporting(tmp_path, PREFECT_API_URL=prefect_server.api_url) as exporting:
        wanted = {f'{NAME}{{flow="{flow}",pipeline="sample"}}' for flow in ("training", "scoring")}
        found = exporting.until(lambda found: wanted <= found.keys())
    assert found[f'{NAME}{{flow="training",pipeline="sample"}}'] == 3 * DAY
    assert found[f'{NAME}{{flow="scoring",pipeline="sample"}}'] == HOUR
