"""The serving benchmark: it asks every server for the same, and does not embellish."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from benchmarks import serving, serving_report
from benchmarks.http_load import Measurement, fault
from benchmarks.serving_model import COLUMNS, PublishedModel
from benchmarks.serving_peers import SERVERS
from benchmarks.serving_report import ALONE, MANY

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", [name for server in SERVERS for name in server.endpoints])
def test_every_server_gets_all_rows_and_wrong_responses_are_errors(name: str) -> None:
    rows = [[number + 0.25 for number in range(30)], [0.5] * 30]
    made = PublishedModel(Path("p"), Path("s"), Path("m"), sorted(COLUMNS), rows, [0.25, 0.75])
    endpoint = next(server.endpoints[name] for server in SERVERS if name in server.endpoints)

    first, second = endpoint.requests(made)

    assert all(str(number + 0.25) in first.body for number in range(30))
    assert first.body != second.body
    assert all(fault(200, body, first.expected) for body in (b"{}", b"[]", b'{"predictions": []}'))


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({}, None),
        ({"fallback": True}, "fallback is True, not False"),
        ({"predictions": [{"prediction": "1", "score": 0.75}]}, "predictions.0.prediction is '1', not '0'"),
        ({"predictions": [{"prediction": "0", "score": 0.76}]}, "predictions.0.score is 0.76, not 0.75"),
        ({"predictions": [{"prediction": "0", "score": None}]}, "lacks an expected value"),
    ],
)
def test_ai_workflow_response_must_be_correct_and_not_fallback(changed: dict[str, object], said: str | None) -> None:
    made = PublishedModel(Path("p"), Path("s"), Path("m"), sorted(COLUMNS), [[0.5] * 30], [0.25])
    [asked] = next(
        server.endpoints["ai-workflow /predict"] for server in SERVERS if server.name == "ai-workflow"
    ).requests(made)
    right = {"predictions": [{"prediction": "0", "score": 0.75}], "fallback": False}

    found = fault(200, json.dumps({**right, **changed}).encode(), asked.expected)

    assert found is None if said is None else said in str(found)


def test_latency_ratios_are_computed_per_round() -> None:
    cells = _cells(hello=[10, 20, 40], ours=[40, 60, 80])

    assert serving_report.over(cells, "ours", "hello") == pytest.approx([4.0, 3.0, 2.0])


@pytest.mark.parametrize(
    ("ours", "peer", "late", "said"),
    [
        (50.0, 200.0, 4.0, ["met 5.00 x", "met 4.00 x less than near", "met 4.00 ms of 4.00 ms"]),
        (50.1, 200.0, 4.01, ["missed 5.01 x", "missed 3.99 x less than near", "missed 4.01 ms of 4.00 ms"]),
    ],
)
def test_report_marks_missed_and_met_goals(ours: float, peer: float, late: float, said: list[str]) -> None:
    cells = {
        **_cells(hello=[10.0], near=[peer], far=[900.0]),
        "ours": {load: [_found(ours, late)] for load in (ALONE, MANY)},
    }

    goals = serving_report.goals(cells, "hello", ["ours"], ["far", "near"])
    text = serving_report.render(cells, "hello", goals, {"peer": "not installed: no net"}, "here")

    assert [f"{'met' if goal.met else 'missed'} {goal.measured}" for goal in goals] == said
    assert [line.split()[0] for line in text.splitlines()[-3:]] == [each.split()[0] for each in said]
    assert "skipped peer: not installed: no net" in text


def test_unmeasured_goal_is_reported_as_unmeasured() -> None:
    cells = _cells(hello=[10.0], ours=[30.0])

    goals = serving_report.goals(cells, "hello", ["ours"], [])

    assert [goal.met for goal in goals] == [True, None, True]
    text = serving_report.render(cells, "hello", goals, {}, "here")
    assert "unmeasured ours: at least 4 x less CPU than the nearest model server: no model server" in text


def test_unknown_server_error_lists_available_names(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        serving.main(["--only", "fastapi,flask"])

    assert "unknown server 'flask'. Servers: hello, ai-workflow, fastapi, mlserver" in capsys.readouterr().err


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_benchmark_skips_server_with_failed_installation(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks", "serving", "--only", "ai-workflow,mlserver", "--rounds", "1"]
    nothing = {"XDG_CACHE_HOME": str(tmp_path), "UV_CACHE_DIR": str(tmp_path / "uv"), "UV_OFFLINE": "1"}

    done = subprocess.run(
        [*command, "--seconds", "0.3", "--json", str(tmp_path / "found.json")],
        cwd=ROOT, env={**os.environ, **nothing, "PIP_NO_INDEX": "1"}, capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    assert "skipped mlserver: not installed: " in done.stdout
    body = json.loads((tmp_path / "found.json").read_text())
    assert body["runs"].keys() == {"hello", "ai-workflow /predict", "ai-workflow /v2 infer"}
    costs = {name: runs["16"][0]["cpu"] / runs["16"][0]["answers"] for name, runs in body["runs"].items()}
    assert 0 < costs["hello"] < costs["ai-workflow /predict"]
    assert [goal["met"] is None for goal in body["goals"]] == [False, True, False] * 2


def _found(micros: float, late: float = 1.0) -> Measurement:
    return Measurement(answers=1000, seconds=1.0, cpu=micros / 1000, p50_ms=0.5, p99_ms=late, most_ms=late)


def _cells(**micros: Sequence[float]) -> dict[str, dict[int, list[Measurement]]]:
    return {name: {load: [_found(each) for each in those] for load in (ALONE, MANY)} for name, those in micros.items()}
