"""The stack of compose.yaml rehearsed: all of it but the container runtime and the images of others."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ai_workflow.slo import reader
from tests.deploy import containers

ROOT = Path(__file__).parents[2]
pytestmark = [pytest.mark.soak, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What was seen in one rehearsal; nothing of it is left on this machine, not even a process."""
    if not containers.possible():
        pytest.skip("only root may make the namespaces that stand in for containers")
    folder = tmp_path_factory.mktemp("rehearsal")
    command = ["unshare", "--net", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child=KILL"]
    found = subprocess.run(
        [*command, sys.executable, "-m", "tests.deploy.rehearsal", folder],
        check=False,
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert found.returncode == 0, found.stderr[-6000:]
    told: dict[str, Any] = json.loads(found.stdout.splitlines()[-1])
    return told


def test_bootstrap_is_idempotent(seen: dict[str, Any]) -> None:
    first, second = seen["bootstrap"]

    assert "deployment training/training: made" in first
    assert "block webhook/alert-relay: made" in first
    assert second == ["nothing changed"]


def test_worker_trains_and_service_serves_published_version(seen: dict[str, Any]) -> None:
    assert (seen["ready"]["serving"], seen["ready"]["state"]) == ("model_v1.0", "ok")


def test_prometheus_scrapes_every_target_with_token(seen: dict[str, Any]) -> None:
    assert seen["up"] == sorted(reader.load().targets)
    assert seen["without a token"] == {"/v2": 401, "/metrics": 401}


def test_prometheus_and_alertmanager_require_login(seen: dict[str, Any]) -> None:
    assert seen["without a login"] == {"9090": 401, "9093": 401, "9111": 401, "9112": 401}
    assert [each["url"] for each in seen["alertmanagers"]] == ["http://alertmanager:9112/api/v2/alerts"]


def test_exporter_reads_read_only_store_and_prefect_with_login(seen: dict[str, Any]) -> None:
    assert seen["failures"] == []


def test_alertmanager_and_prefect_notifications_reach_chat(seen: dict[str, Any]) -> None:
    assert seen["told"] == ["Rehearsal", "drill"]
