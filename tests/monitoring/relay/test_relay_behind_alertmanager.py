"""A real Alertmanager posts to a real relay: a fault reaches every chat once, also where one was down, and resolves."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.monitoring import live_prometheus
from tests.monitoring.relay.fake_vendors import Vendors
from tests.monitoring.relay.running_relay import LIVELY, TOKEN, RunningRelay, until

CHATS = ("dingtalk", "slack", "feishu")


def routed(relay_port: int) -> dict[str, Any]:
    """Return a configuration that posts every alert to the relay at once."""
    url = f"http://127.0.0.1:{relay_port}/alertmanager"
    webhook = {"url": url, "send_resolved": True, "http_config": {"authorization": {"credentials": TOKEN}}}
    route = {"receiver": "relay", "group_by": ["alertname", "slo", "job"]}
    route |= {"group_wait": "0s", "group_interval": "1s", "repeat_interval": "1h"}
    return {"route": route, "receivers": [{"name": "relay", "webhook_configs": [webhook]}]}


def tell(address: str, ends: datetime) -> None:
    """Tell Alertmanager of the fault, as Prometheus does."""
    now = datetime.now(UTC)
    one = {
        "labels": {"alertname": "LatencyBurn", "severity": "page", "slo": "latency", "model_version": "model_v1.0"},
        "annotations": {"summary": "12 % of requests take over 200 ms", "value": "0.12", "unit": "ratio"},
        "startsAt": (now - timedelta(minutes=3)).isoformat(),
        "endsAt": ends.isoformat(),
    }
    httpx.post(f"{address}/api/v2/alerts", json=[one], trust_env=False, timeout=60).raise_for_status()


@pytest.mark.slow
def test_every_chat_gets_alert_and_resolution_once_after_vendor_outage(
    folder: Path, vendors: Vendors, tmp_path: Path
) -> None:
    channels = [vendors.channel(kind, **LIVELY) for kind in CHATS]
    with RunningRelay(folder, channels) as relay, live_prometheus.alertmanager(tmp_path, routed(relay.port)) as address:
        vendors.faults["feishu"] = "refuse"
        tell(address, datetime.now(UTC) + timedelta(minutes=10))
        until(lambda: vendors.asked.get("feishu", 0) >= 3)
        assert [len(vendors.texts(kind)) for kind in CHATS] == [1, 1, 0]

        vendors.faults.clear()
        until(lambda: len(vendors.texts("feishu")) == 1)
        tell(address, datetime.now(UTC))
        until(lambda: all(len(vendors.texts(kind)) >= 2 for kind in CHATS))

        assert [len(vendors.texts(kind)) for kind in CHATS] == [2, 2, 2]
        fired, resolved = vendors.texts("slack")
        assert "PAGE" in fired
        assert "LatencyBurn: latency / model_v1.0" in fired
        assert f"{address.removeprefix('http://').split(':')[1]}/#/silences/new" in fired
        assert "resolved after 3 min" in resolved
        assert relay.metric("alert_webhook_total", source="alertmanager", result="failed") >= 1
