"""Faults of servers: real processes and sockets, broken; the doctor names each in bounded time."""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest

from ai_workflow.local.server import Server
from tests import services
from tests.doctor.planted import examined, fault, findings
from tests.monitoring.relay import fake_vendors
from tests.monitoring.relay.running_relay import LIVELY, TOKEN, RunningRelay, alert
from tests.serving import published_models
from tests.serving.running_service import Running

pytestmark = pytest.mark.integration
POOL = "doctor-pool"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, without a stack or a server."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@contextmanager
def api(version: str, ahead: timedelta = timedelta(0), certificate: ssl.SSLContext | None = None) -> Iterator[str]:
    """Yield the URL of a server that answers as the API of a Prefect of a version, with its own clock."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = f'"{version}"'.encode() if self.path.endswith("/admin/version") else b"true"
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def date_time_string(self, timestamp: float | None = None) -> str:
            return format_datetime(datetime.now(UTC) + ahead, usegmt=True)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer((services.LOOPBACK, 0), Handler) as server:
        if certificate:
            server.socket = certificate.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"https://localhost:{server.server_port}" if certificate else ""
        yield f"{address or f'http://{services.LOOPBACK}:{server.server_port}'}/api"
        server.shutdown()


# -- Prefect server --------------------------------------------------------------------------------------------------


def test_unreachable_prefect_server_is_named_once_and_depending_checks_are_unknown(folder: Path) -> None:
    url = f"http://{services.LOOPBACK}:{services.free_port()}/api"
    down = examined(folder, {"PREFECT_API_URL": url})

    assert "does not answer: connection refused" in fault("prefect server", down).what
    assert fault("workers", down, "unknown").where == url
    assert fault("clock", down, "unknown").where == url
    assert fault("stale pipelines", down, "unknown").where == url


@pytest.mark.slow
def test_hanging_prefect_server_is_named_in_bounded_time(folder: Path) -> None:
    with services.hanging_server() as url:
        started = time.monotonic()
        finding = fault("prefect server", examined(folder, {"PREFECT_API_URL": url}))

    assert "no answer in time" in finding.what
    assert time.monotonic() - started < 30


def test_login_in_url_is_not_shown(folder: Path) -> None:
    url = f"http://user:letmein@{services.LOOPBACK}:{services.free_port()}/api"
    down = examined(folder, {"PREFECT_API_URL": url})

    for name in ("prefect server", "workers", "clock", "stale pipelines"):
        assert "letmein" not in str(findings(name, down))


def test_invalid_url_of_prefect_server_is_an_error(folder: Path) -> None:
    finding = fault("prefect server", examined(folder, {"PREFECT_API_URL": "http://[::1/api"}))

    assert "not the URL of a Prefect server" in finding.what


def test_prefect_server_of_unsupported_version_is_named(folder: Path) -> None:
    with api("2.20.1") as url:
        finding = fault("prefect server", examined(folder, {"PREFECT_API_URL": url}))

    assert finding.what.startswith("the Prefect server has version 2.20.1, this project requires ")


def test_own_certificate_of_prefect_server_is_trusted_by_its_variable(folder: Path) -> None:
    with api("3.9.1", certificate=fake_vendors._context(folder)) as url:
        env = {"PREFECT_API_URL": url}
        assert "CERTIFICATE_VERIFY_FAILED" in fault("prefect server", examined(folder, env)).what.upper()
        trusted = env | {"PREFECT_API_SSL_CERT_FILE": str(folder / "certificate.pem")}
        assert findings("prefect server", examined(folder, trusted)) == []
        missing = env | {"PREFECT_API_SSL_CERT_FILE": str(folder / "absent.pem")}
        assert "PREFECT_API_SSL_CERT_FILE=" in fault("prefect server", examined(folder, missing)).what


@pytest.mark.parametrize(("minutes", "order"), [(10, "behind"), (-10, "ahead of")])
def test_clock_skew_is_named(folder: Path, minutes: int, order: str) -> None:
    with api("3.9.1", timedelta(minutes=minutes)) as url:
        finding = fault("clock", examined(folder, {"PREFECT_API_URL": url}))

    assert f" s {order} the Prefect server" in finding.what


def test_equal_clocks_are_no_fault(folder: Path) -> None:
    with api("3.9.1") as url:
        assert findings("clock", examined(folder, {"PREFECT_API_URL": url})) == []


@pytest.mark.slow
def test_work_pool_without_worker_is_named(folder: Path, prefect_server: Server) -> None:
    used = examined(folder, {"PREFECT_API_URL": prefect_server.api_url})
    with httpx.Client(base_url=prefect_server.api_url, timeout=60) as http:
        token = http.get("/csrf-token", params={"client": "doctor"}).raise_for_status().json()["token"]
        http.headers.update({"Prefect-Csrf-Client": "doctor", "Prefect-Csrf-Token": token})
        http.post("/work_pools/", json={"name": POOL, "type": "process"}).raise_for_status()
        flow = http.post("/flows/", json={"name": "doctor"}).raise_for_status().json()["id"]
        body = {"name": "doctor", "flow_id": flow, "work_pool_name": POOL}
        deployment = http.post("/deployments/", json=body).raise_for_status().json()["id"]
        try:
            assert findings("prefect server", used) == []
            assert findings("clock", used) == []
            named = [each for each in findings("workers", used) if POOL in each.what]
            assert [each.what.split(":")[0] for each in named] == [
                f"work pool {POOL} has no live worker, and never had one"
            ]
            assert named[0].remedy.startswith(f"prefect worker start --pool {POOL}")

            heartbeat = http.post(f"/work_pools/{POOL}/workers/heartbeat", json={"name": "one"})
            heartbeat.raise_for_status()
            assert [each for each in findings("workers", used) if POOL in each.what] == []

            http.patch(f"/work_pools/{POOL}", json={"is_paused": True}).raise_for_status()
            assert [each.what for each in findings("workers", used) if POOL in each.what] == [
                f"work pool {POOL} is paused"
            ]
        finally:
            http.delete(f"/deployments/{deployment}")
            http.delete(f"/work_pools/{POOL}")


# -- inference service -----------------------------------------------------------------------------------------------


def test_service_that_does_not_answer_is_named(folder: Path) -> None:
    url = f"http://{services.LOOPBACK}:{services.free_port()}"

    assert "connection refused" in fault("inference service", examined(folder, service=url)).what
    assert findings("inference service", examined(folder, {"AIW_PORT": "9"}))[0].severity == "skipped"


@pytest.mark.slow
def test_degraded_service_is_named_with_answering_version_and_reason(folder: Path) -> None:
    root = folder / "store"
    with Running(published_models.pipeline(folder), root) as service:
        url = f"http://{services.LOOPBACK}:{service.port}"
        default = fault("inference service", examined(folder, service=url))
        assert "requests get the default response, no version answers: " in default.what

        published_models.publish(root, 1)
        service.until(lambda: service.ready()["state"] == "ok")
        assert findings("inference service", examined(folder, service=url)) == []

        published_models.publish(root, 2, model=b"no model")
        service.until(lambda: service.ready()["state"] == "degraded")
        degraded = fault("inference service", examined(folder, service=url))
        assert degraded.what.startswith("model_v1.0 answers in place of latest: ")
        assert "model_v1.1" in degraded.what


# -- alerts ----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_channel_without_delivery_is_named_until_it_receives_again(folder: Path) -> None:
    port = services.free_port()
    channel = {"name": "ops", "kind": "webhook", "url": f"http://{services.LOOPBACK}:{port}/hook", **LIVELY}
    with RunningRelay(folder, [channel], {"token": None}) as relay:
        url = f"http://{services.LOOPBACK}:{relay.port}"
        used = examined(folder, relay=url)
        assert [each.severity for each in findings("alerts", used)] == []
        assert relay.post(alert()).status_code == 503

        finding = fault("alerts", used)

        assert finding.what.startswith("alerts do not reach the channel ops: ")
        assert finding.since is not None
        assert abs(finding.since - datetime.now(UTC)) < timedelta(minutes=5)
        with _hook(port):
            assert relay.post(alert()).status_code == 200
        assert findings("alerts", used) == []


@pytest.mark.slow
def test_relay_with_token_shows_reason_only_with_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    channel = {"name": "ops", "kind": "webhook", "url": f"http://{services.LOOPBACK}:{services.free_port()}/", **LIVELY}
    with RunningRelay(folder, [channel]) as relay:
        assert relay.post(alert()).status_code == 503

        finding = fault("alerts", examined(folder, relay=f"http://{services.LOOPBACK}:{relay.port}"))
        assert finding.what == "alerts do not reach the channel ops: the reason is in the log of the relay"

        (folder / "more.yaml").write_text(f"relay: {{port: {relay.port}, token: {TOKEN}}}\n")
        monkeypatch.setenv("AIW_CONFIG", str(folder / "more.yaml"))
        assert "channel ops: not reachable" in fault("alerts", examined(folder)).what


@contextmanager
def _hook(port: int) -> Iterator[None]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer((services.LOOPBACK, port), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield
        server.shutdown()
