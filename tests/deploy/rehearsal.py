"""`python -m tests.deploy.rehearsal FOLDER`: the stack of compose.yaml from nothing to a chat; prints what was seen."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import httpx
import yaml
from cryptography.fernet import Fernet

from tests import services
from tests.deploy.containers import Host, bring_up_loopback
from tests.monitoring import live_prometheus, prometheus_tools
from tests.monitoring.relay import fake_vendors
from tests.monitoring.relay.fake_vendors import Vendors
from tests.monitoring.relay.running_relay import LIVELY

T = TypeVar("T")
_SECONDS = 300.0
# None waits for another, as in compose; the exporter comes last, so that each failure it counts is one.
AT_ONCE = (("server", "service", "relay"), ("exporter",))
GUARDS = ("prometheus-guard", "alertmanager-guard")
MONITORING_PASSWORD = "monitoring-0815"
CHANNEL = {"name": "on-call", "kind": "webhook", "url": "${secret:on-call-url}", "secret": "${secret:on-call-secret}"}


def rehearse(folder: Path) -> dict[str, Any]:
    """Start everything in its order, train, ask, and be told; return what was seen."""
    bring_up_loopback()
    with ExitStack() as stack:
        vendors = stack.enter_context(fake_vendors.running(folder))
        host = stack.enter_context(_host(folder, vendors))
        seen: dict[str, Any] = {}
        for names in AT_ONCE:
            for name in names:
                host.start(name)
            for name in names:
                host.until_healthy(name)
        seen["bootstrap"] = [host.once("bootstrap").splitlines() for _ in range(2)]
        host.start("worker")
        host.run("worker", ["prefect", "deployment", "run", "training/training", "--watch"])
        host.once("login")
        web = live_prometheus.Web(folder / "volumes" / "login" / "web.yml", ("guard", MONITORING_PASSWORD))
        prometheus = stack.enter_context(live_prometheus.prometheus(folder / "prometheus", _scraping(), 9111, web))
        alerting = live_prometheus.alertmanager(folder / "alertmanager", _generated("alertmanager.yml"), 9112, web)
        stack.enter_context(alerting)
        for name in GUARDS:
            host.start(name)
        for name in GUARDS:
            host.until_healthy(name)
        seen["ready"] = _until(_readiness, lambda found: found["serving"] is not None)
        seen["up"] = _until(
            lambda: sorted(each["metric"]["job"] for each in prometheus.ask("up == 1")), lambda found: len(found) == 5
        )
        # One that failed once, on a busy machine, must not have failed in the scrapes after it.
        lasting = (
            "exporter_source_failures_total > 0 unless (changes(exporter_source_failures_total[30s]) == 0 "
            "and count_over_time(exporter_source_failures_total[30s]) >= 2)"
        )
        seen["failures"] = _until(lambda: prometheus.ask(lasting), lambda found: not found)
        alert = {"labels": {"alertname": "Rehearsal", "severity": "page"}}
        guarded, operator = "http://127.0.0.1:9093/api/v2/alerts", ("operator", MONITORING_PASSWORD)
        httpx.post(guarded, json=[alert], auth=operator, trust_env=False, timeout=60).raise_for_status()
        host.run("worker", ["prefect", "deployment", "run", "drill/drill", "--watch"])
        told = _until(lambda: str(vendors.texts("webhook")), lambda text: "Rehearsal" in text and "drill" in text)
        seen["told"] = [word for word in ("Rehearsal", "drill") if word in told]
        seen["without a token"] = {path: _status(path) for path in ("/v2", "/metrics")}
        seen["without a login"] = {
            port: httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False, timeout=60).status_code
            for port in (9090, 9093, 9111, 9112)
        }
        seen["alertmanagers"] = prometheus.get("alertmanagers")["activeAlertmanagers"]
        return seen


@contextmanager
def _host(folder: Path, vendors: Vendors) -> Iterator[Host]:
    channel = vendors.channel("webhook")
    (folder / "site").mkdir()
    (folder / "site" / "site.yaml").write_text(yaml.safe_dump({"chat": [{**CHANNEL, **LIVELY}]}))
    variables = {
        "POSTGRES_PASSWORD": "database-0815", "PREFECT_LOGIN": "operator:login-0815",
        "PREFECT_ENCRYPTION_KEY": Fernet.generate_key().decode(), "INFERENCE_TOKEN": "inference-0815",
        "INFERENCE_LABEL_TOKEN": "label-0815", "INFERENCE_ADMIN_TOKEN": "admin-0815",
        "MONITORING_PASSWORD": MONITORING_PASSWORD, "RELAY_TOKEN": "relay-0815", "GRAFANA_PASSWORD": "grafana-0815",
        "ON_CALL_URL": channel["url"], "ON_CALL_SECRET": channel["secret"], "AIW_SITE": str(folder / "site"),
    }  # fmt: skip
    with services.postgres() as found:
        login = f"{found.user}:{quote(found.password, safe='')}"
        host = Host(folder, variables, f"postgresql+asyncpg://{login}@{found.host}:{found.port}/{found.dbname}")
        try:
            yield host
        finally:
            host.stop()


def _generated(name: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((Path(__file__).parents[2] / "deploy" / "generated" / name).read_text())
    return found


def _scraping() -> dict[str, Any]:
    """Return the configuration for compose, as quick as a test is."""
    found = _generated("prometheus.yml")
    quick = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    return {**found, "global": quick, "rule_files": [str(prometheus_tools.RULES / "*.yaml")]}


def _readiness() -> dict[str, Any]:
    found: dict[str, Any] = httpx.get("http://service:8080/v2/health/ready", trust_env=False, timeout=60).json()
    return found


def _status(path: str) -> int:
    return httpx.get(f"http://service:8080{path}", trust_env=False, timeout=60).status_code


def _until(look: Callable[[], T], is_there: Callable[[T], bool]) -> T:
    deadline = time.monotonic() + _SECONDS
    while not is_there(found := look()):
        if time.monotonic() > deadline:
            raise RuntimeError(f"not within {_SECONDS:g} s: {found}")
        time.sleep(0.2)
    return found


if __name__ == "__main__":
    print(json.dumps(rehearse(Path(sys.argv[1]))))
