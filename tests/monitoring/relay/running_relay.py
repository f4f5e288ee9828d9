"""A running relay for tests: a real process on a free port, and webhooks as Alertmanager writes them."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import httpx
import yaml

from tests.patience import PATIENCE
from tests.processes import ServerLog

ROOT = Path(__file__).parents[3]
TOKEN = "relay-token-0815"
# Settings of a channel that no test has to wait for, and no busy machine makes fail.
LIVELY = {"timeout_seconds": 15, "per_minute": 6000}
_STARTED = 60.0


class RunningRelay:
    """A relay, started and listening; use it as a context manager.

    Args:
        folder: for its configuration.
        channels: `chat:` of the configuration.
        relay: more of `relay:`.
        program: the arguments of Python that start it.
        in_pipeline: whether the configuration is the file of `--pipeline`, else that of AIW_CONFIG.
        variables: its environment.
    """

    def __init__(
        self,
        folder: Path,
        channels: list[dict[str, Any]],
        relay: dict[str, Any] | None = None,
        *,
        in_pipeline: bool = False,
        program: Sequence[str] = ("-m", "ai_workflow", "relay"),
        **variables: str,
    ) -> None:
        given = folder / "relay.yaml"
        given.write_text(yaml.safe_dump({"relay": {"port": 0, "token": TOKEN, **(relay or {})}, "chat": channels}))
        environment = os.environ | {"AIW_ROOT": str(ROOT)} | ({} if in_pipeline else {"AIW_CONFIG": str(given)})
        arguments = ["--pipeline", str(given)] if in_pipeline else []
        certificate = folder / "certificate.pem"
        environment |= ({"REQUESTS_CA_BUNDLE": str(certificate)} if certificate.exists() else {}) | variables
        self.process = subprocess.Popen(
            [sys.executable, *program, *arguments],
            cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, errors="strict",
        )  # fmt: skip
        self._log = ServerLog(self.process)
        self.log = self._log.lines
        self.port = 0

    def __enter__(self) -> RunningRelay:
        until(lambda: bool(self._log.port) or self.process.poll() is not None, _STARTED)
        self.port = self._log.port
        assert self.port, "".join(self.log)
        headers = {"authorization": f"Bearer {TOKEN}"}
        self.http = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", headers=headers, timeout=60, trust_env=False)
        self.at_start = self.http.get("/metrics").text
        return self

    def __exit__(self, *_: object) -> None:
        self.http.close()
        self.process.terminate()
        try:
            self.process.wait(60)
        finally:
            self.process.kill()
            self.process.wait()
            self._log.join()

    def post(self, *alerts: dict[str, Any], group: str = "g", **other: Any) -> httpx.Response:
        """Post alerts as Alertmanager does."""
        return self.http.post("/alertmanager", json=webhook(*alerts, group=group, **other))

    def metric(self, name: str, **labels: str) -> float:
        """Return the value of a metric."""
        wanted = f"{name}{{" + ",".join(f'{key}="{value}"' for key, value in sorted(labels.items())) + "} "
        shown = self.http.get("/metrics").text
        return next((float(line.split()[-1]) for line in shown.splitlines() if line.startswith(wanted)), 0.0)


def until(holds: Callable[[], bool], seconds: float = PATIENCE) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it never came to hold"
        time.sleep(0.02)


def webhook(*alerts: dict[str, Any], group: str = "g", **other: Any) -> dict[str, Any]:
    """Return the body that Alertmanager posts, version 4."""
    return {
        "receiver": "relay", "version": "4", "groupKey": group, "truncatedAlerts": 0,
        "status": "firing" if any(one["status"] == "firing" for one in alerts) else "resolved",
        "groupLabels": {}, "commonLabels": {}, "commonAnnotations": {},
        "externalURL": "http://alertmanager:9093", "alerts": list(alerts), **other,
    }  # fmt: skip


def alert(fingerprint: str = "f1", status: str = "firing", **labels: str) -> dict[str, Any]:
    """Return one alert of such a body: an availability SLO, breached at 10:00, resolved 12 minutes later."""
    ended = "2025-01-15T10:12:00Z" if status == "resolved" else "0001-01-01T00:00:00Z"
    return {
        "status": status,
        "labels": {
            "alertname": "AvailabilityBurn", "severity": "page", "slo": "availability", "window": "page_fast",
            "job": "inference", "model_version": "model_v2.3", **labels,
        },
        "annotations": {
            "summary": "2.13 % of requests fail; the objective is 0.1 %", "value": "0.0213", "objective": "0.001",
            "unit": "ratio", "runbook_url": "https://runbooks/AvailabilityBurn.md",
            "dashboard_url": "https://grafana/d/slo?var-slo=availability", "trace_id": "a3f7b2c1" + "0" * 24,
        },
        "startsAt": "2025-01-15T10:00:00.123Z", "endsAt": ended,
        "generatorURL": "http://prometheus:9090/graph", "fingerprint": fingerprint,
    }  # fmt: skip
