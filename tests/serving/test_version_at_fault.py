"""The version at fault is the one that metrics, examples, log, prediction log and response name."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.serving import published_models
from tests.serving.running_service import Running, children

pytestmark = pytest.mark.integration

LATEST, STABLE = "model_v1.1", "model_v1.0"
SHOP = f'pipeline="{published_models.PIPELINE}"'


def of(version: str) -> str:
    return f'model_version="{version}",{SHOP}'


def counts(running: Running, version: str) -> dict[str, float]:
    """Return what a version did with the requests that were put to it, by status, where there is any."""
    found = running.metrics()
    statuses = ("success", "fallback", "timeout", "error", "rejected")
    by_status = {status: found[f'inference_total{{{of(version)},status="{status}"}}'] for status in statuses}
    return {status: count for status, count in by_status.items() if count}


def requests(running: Running) -> dict[str, float]:
    """Return the final outcomes of requests, where there are any."""
    prefix = f'inference_requests_total{{{SHOP},status="'
    return {
        name.removeprefix(prefix).removesuffix('"}'): count
        for name, count in running.metrics().items()
        if name.startswith(prefix) and count
    }


def examples(running: Running, version: str) -> dict[str, str]:
    """Return the trace that is shown of a version for each kind of failure."""
    found = {}
    for name in running.metrics():
        if name.startswith("inference_example_info{") and of(version) in name:
            labels = dict(part.split("=", 1) for part in name.split("{")[1].rstrip("}").split(","))
            found[labels["kind"].strip('"')] = labels["trace_id"].strip('"')
    return found


def test_short_client_deadlines_are_not_version_failures(root: Path, tmp_path: Path) -> None:
    inputs = [{"name": "features", "datatype": "FP32", "shape": [1, 8], "data": [1] * 8}]
    with Running(published_models.pipeline(tmp_path), root) as running:
        for path in ("infer", "versions/latest/infer"):
            for _ in range(10):
                sent = {"inputs": inputs, "parameters": {"timeout": 1}}
                running.http.post(f"/v2/models/{published_models.PIPELINE}/{path}", json=sent)
        assert requests(running) == {"expired": 20}
        metrics = running.metrics()
        counted = [name for name, count in metrics.items() if count and 'reason="' in name]
        reasons = {name.split('reason="')[1].split('"')[0] for name in counted}
        assert reasons == {"expired"}, "this reason is in no alert"
        assert not any(name.startswith("inference_example_info{") for name in metrics), "no trace of a fault"


@contextmanager
def stopped(*pids: int) -> Iterator[None]:
    """Stop processes; those that are killed meanwhile need no more."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    yield
    for pid in pids:
        try:
            os.kill(pid, signal.SIGCONT)
        except ProcessLookupError:
            continue


def logged(root: Path) -> list[dict[str, Any]]:
    """Return the predictions of the log."""
    files = sorted((root / "prediction_log" / published_models.PIPELINE).glob("*.jsonl"))
    return [json.loads(line) for file in files for line in file.read_text().splitlines()]


@pytest.mark.slow
def test_timeout_is_attributed_to_latest_not_to_fallback(tmp_path: Path, root: Path) -> None:
    log = {"prediction_log": {"enabled": True}}
    pipeline = published_models.pipeline(tmp_path, inference={"deadline_ms": 2000}, service=log)
    with Running(pipeline, root) as running:
        with stopped(running.workers()[LATEST]):
            answer = running.predict(published_models.ROW)
        assert answer["model_version"] == STABLE
        assert answer["fallback_reason"] in (f"{LATEST}: timeout", f"{LATEST}: hung")
        assert counts(running, LATEST) == {"timeout": 1}
        assert counts(running, STABLE) == {"fallback": 1}
        assert requests(running) == {"fallback": 1}
        found = running.metrics()
        assert found[f"inference_latency_seconds_sum{{{of(LATEST)}}}"] >= 0.9, "60 % of the deadline"
        assert found[f"inference_latency_seconds_sum{{{of(STABLE)}}}"] < 0.5, "it had nothing to wait for"
        shown = examples(running, LATEST)
        assert {shown[kind] for kind in ("timeout", "slow", "fallback")} == {answer["trace_id"]}
        assert examples(running, STABLE) == {}
        running.until(lambda: running.predict(published_models.ROW)["model_version"] == LATEST)
        assert examples(running, LATEST)["timeout"] == answer["trace_id"], "an example does not expire"
        reasons = {f'inference_fallback_total{{{of(LATEST)},reason="{reason}"}}' for reason in ("timeout", "hung")}
        assert sum(running.metrics()[name] for name in reasons) >= 1
        running.until(lambda: any(f"answered by {STABLE}: {answer['fallback_reason']}" in line for line in running.log))
        running.until(lambda: len(logged(root)) >= 2)
        first = logged(root)[0]
        assert (first["model_version"], first["fallback_reason"]) == (STABLE, answer["fallback_reason"])


@pytest.mark.slow
def test_two_stopped_versions_are_both_reported_with_default(tmp_path: Path, root: Path) -> None:
    pipeline = published_models.pipeline(tmp_path, inference={"deadline_ms": 1000})
    with Running(pipeline, root) as running:
        with stopped(*running.workers().values()):
            answer = running.predict(published_models.ROW)
        assert answer["model_version"] == "default"
        assert [part.split(":")[0] for part in answer["fallback_reason"].split("; ")] == [LATEST, STABLE]
        assert counts(running, LATEST) == counts(running, STABLE) == {"timeout": 1}
        assert requests(running) == {"default": 1}
        assert running.metrics()[f'inference_total{{{of("default")},status="fallback"}}'] == 1
        assert examples(running, LATEST)["default"] == answer["trace_id"]
        running.until(lambda: any("all models failed" in line for line in running.log))
        (line,) = [line for line in running.log if "all models failed" in line]
        assert "[ERROR] ai_pipeline.serving: all models failed, answered by default: " in line
        assert f"{LATEST}: timeout; {STABLE}: timeout" in line
        assert answer["trace_id"][:8] in line
        assert examples(running, STABLE)["fallback"] == answer["trace_id"]


@pytest.mark.slow
def test_worker_crashes_are_counted_and_children_reaped(tmp_path: Path, root: Path) -> None:
    with Running(published_models.pipeline(tmp_path), root) as running:
        restarts = f'model_worker_restarts_total{{{of(LATEST)},reason="crashed"}}'
        for number in range(1, 5):
            pid = running.workers()[LATEST]
            os.kill(pid, signal.SIGKILL)
            running.until(lambda pid=pid: running.workers().get(LATEST, pid) != pid)
            running.until(lambda: running.ready()["state"] == "ok")
            assert running.metrics()[restarts] == number
        trace_id = examples(running, LATEST)["crash"]
        line = f"{LATEST}: its process was killed by signal 9 trace="
        running.until(lambda: any(f"{line}{trace_id[:8]}" in told for told in running.log))
        assert examples(running, STABLE) == {}
        assert zombies(running.process.pid) == []


@pytest.mark.parametrize("kind", [pytest.param("NaN", marks=pytest.mark.slow), "raise"])
def test_invalid_output_is_counted_as_error_of_latest(kind: str, tmp_path: Path, faults: Path, root: Path) -> None:
    with Running(published_models.pipeline(tmp_path), root, faults) as running:
        (faults / LATEST).write_text(kind)
        answer = running.predict(published_models.ROW)
        assert counts(running, LATEST) == {"error": 1}
        assert counts(running, STABLE) == {"fallback": 1}
        assert examples(running, LATEST) == {"error": answer["trace_id"], "fallback": answer["trace_id"]}
        assert examples(running, "") == {"fallback": answer["trace_id"]}, "an alert about an overload finds this one"


@pytest.mark.slow
def test_fallback_from_unloaded_version_is_attributed_to_latest(tmp_path: Path, root: Path) -> None:
    (root / published_models.FOLDER / LATEST / "model.txt").write_bytes(b"tree")
    with Running(published_models.pipeline(tmp_path), root) as running:
        answer = running.predict(published_models.ROW)
        assert counts(running, STABLE) == {"fallback": 1}
        assert running.metrics()[f'inference_fallback_total{{{of(LATEST)},reason="not_loaded"}}'] == 1
        assert examples(running, LATEST) == {"fallback": answer["trace_id"]}


def zombies(pid: int) -> list[int]:
    """Return the children of a process that have ended and were not waited for."""
    return [child for child in children(pid) if _state(child) == "Z"]


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""


@pytest.mark.slow
def test_idle_hung_version_is_restarted_without_requests(tmp_path: Path, root: Path) -> None:
    with Running(published_models.pipeline(tmp_path), root) as running:
        for version in (STABLE, LATEST):
            pid = running.workers()[version]
            os.kill(pid, signal.SIGSTOP)
            running.until(lambda version=version: running.ready()["versions"][version] != "ok")
            running.until(lambda version=version, pid=pid: running.workers().get(version, pid) != pid)
            running.until(lambda: running.ready()["state"] == "ok")
            restarts = f'model_worker_restarts_total{{{of(version)},reason="hung"}}'
            assert running.metrics()[restarts] >= 1
            assert counts(running, version) == {}, "probes are no requests"
            assert examples(running, version)["crash"]
        assert requests(running) == {}
        assert zombies(running.process.pid) == []


@pytest.mark.slow
def test_prediction_log_compaction_process_is_reaped(tmp_path: Path, root: Path) -> None:
    log = {"enabled": True, "segment_seconds": 1}
    with Running(published_models.pipeline(tmp_path, service={"prediction_log": log}), root) as running:
        running.predict(published_models.ROW)
        running.until((root / "predictions" / published_models.PIPELINE / LATEST).exists)
        running.until(lambda: set(children(running.process.pid)) == set(running.workers().values()))
