"""What a run says of itself: one trace on every line, in the journal and in Prefect; also when it is killed."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from ai_workflow.local.server import Server
from tests.flows import sample_tables
from tests.flows.prefect_api import Api, until
from tests.flows.workspace import Run, Workplace

pytestmark = pytest.mark.slow

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
TRACEPARENT = f"00-{TRACE}-00f067aa0ba902b7-01"


@pytest.fixture(scope="module")
def called(trained_once: Workplace, tmp_path_factory: pytest.TempPathFactory) -> tuple[Workplace, Run, Run, Run]:
    """A training and a scoring within the trace of a caller, the first with DEBUG; then a training without either."""
    place = trained_once.copy(tmp_path_factory.mktemp("called"))
    source = {"kind": "csv", "path": str(trained_once.folder / "rows-*.csv")}
    place.configure("two.yaml", source=source, trainer=sample_tables.PIPELINE["trainer"] | {"steps": 2})
    asked = {"config": "two.yaml", "traceparent": TRACEPARENT}
    training, scoring, plain = place.call(
        [
            {"flow": "training", "log_level": "DEBUG", **asked},
            {"flow": "scoring", **asked},
            {"flow": "training", "config": "two.yaml"},
        ]
    )
    assert (training.code, scoring.code, plain.code) == (0, 0, 0), training.output + scoring.output
    return place, training, scoring, plain


@pytest.mark.parametrize("number", [0, 1], ids=["training", "scoring"])
def test_every_log_line_of_run_has_trace_id(number: int, trained_once: Workplace, prefect_server: Server) -> None:
    run = trained_once.runs[number]

    lines = [line for line in run.output.splitlines() if line.strip()]
    assert len(run.lines) == len(lines), "a line is not of the form `time [LEVEL] logger: message`"
    assert {line.trace for line in run.lines} == {run.trace_id[:8]}
    assert any("View at" in line.message for line in run.lines)
    assert {line.logger.split(".")[0] for line in run.lines} == {"ai_pipeline", "prefect"}

    messages = Api(prefect_server).logs(run.events[0].flow_run_id)
    tail = f" trace={run.trace_id[:8]}"
    assert all(message.endswith(tail) for message in messages), "a line in the log of the run has no trace"
    ours = [line.message + tail for line in run.ours("INFO")]
    assert ours
    assert set(ours) <= set(messages), "an INFO line of ours did not reach Prefect"


def test_runs_have_distinct_trace_ids(called: tuple[Workplace, Run, Run, Run]) -> None:
    _, _, _, plain = called

    assert re.fullmatch("[0-9a-f]{32}", plain.trace_id)
    assert plain.trace_id != TRACE


def test_caller_trace_id_is_used_in_logs_journal_and_artifacts(
    called: tuple[Workplace, Run, Run, Run], prefect_server: Server
) -> None:
    place, training, scoring, _ = called

    for run in (training, scoring):
        assert run.trace_id == TRACE
        assert {line.trace for line in run.lines if line.logger.startswith("ai_pipeline")} == {TRACE[:8]}
        assert [line.trace for line in run.lines if "Finished in state" in line.message][-1] == TRACE[:8]
    latest = place.registry.get("latest")
    assert latest.manifest["trace_id"] == TRACE
    assert f"**trace**: `{TRACE}`" in place.registry.read(latest, "card.md").decode()
    assert place.registry.history()[-1]["trace_id"] == TRACE
    predictions = place.files(f"predictions/*/{latest.name}/*/*.parquet")
    assert predictions
    assert {trace_id for path in predictions for trace_id in pd.read_parquet(path)["trace_id"]} == {TRACE}
    (table,) = [
        found
        for found in Api(prefect_server).artifacts(training.events[0].flow_run_id).values()
        if found["type"] == "table"
    ]
    assert TRACE[:8] in table["description"]
    assert [row["stage"] for row in json.loads(table["data"])][-1] == "registry"


def test_debug_level_applies_to_single_run(called: tuple[Workplace, Run, Run, Run]) -> None:
    _, training, scoring, plain = called

    assert training.ours("DEBUG")
    assert not scoring.ours("DEBUG")
    assert not plain.ours("DEBUG")


@pytest.mark.parametrize(
    ("logger", "pattern"),
    [
        ("partitions", r"read: data/clean/\S+\.parquet, \d+ rows, \d+ bytes, "),
        ("preprocessor", r"cache (hit|miss): cache key preprocessor/"),
        ("trainer", r"(SUCCESS|CACHED) in \d+\.\d+ s: .*; memory peak of the process so far [1-9]\d* MiB"),
    ],
)
def test_debug_log_shows_partitions_cache_keys_and_memory(
    called: tuple[Workplace, Run, Run, Run], logger: str, pattern: str
) -> None:
    _, training, _, _ = called
    lines = [line for line in training.ours("DEBUG") if line.logger == f"ai_pipeline.{logger}"]
    assert any(re.match(pattern, line.message) for line in lines), training.output


def test_json_log_has_object_per_line_with_trace_id(trained: Workplace) -> None:
    run = trained.train(AIW_LOG_FORMAT="json")

    assert run.code == 0, run.output
    lines = [json.loads(line) for line in run.output.splitlines() if line.strip()]
    assert all({"time", "level", "logger", "stage", "message", "trace_id"} <= line.keys() for line in lines)
    assert {line["trace_id"] for line in lines[1:]} == {run.trace_id}


def test_killed_run_is_shown_as_killed_in_trace(place: Workplace, prefect_server: Server) -> None:
    place.configure(trainer={"steps": 10_000_000, "params": {"num_threads": 1}})
    child = subprocess.Popen(
        [sys.executable, "-m", "ai_workflow", "run", "training", "--pipeline", "pipeline.yaml"], cwd=place.folder,
        env=place.environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        (started,) = until(lambda: place.files("journal/*/*-trainer-started.json"))
        run_id = json.loads(started.read_text())["flow_run_id"]
        shown = until(lambda: list(Api(prefect_server).artifacts(run_id).values()))
        assert "running: trainer" in _cli(place, "--last")
    finally:
        child.kill()
        child.wait()

    assert [found["type"] for found in shown] == ["progress"]
    text = _cli(place, "--failed")
    assert "killed in trainer" in text
    assert re.search(r"feature_engineering +\| SUCCESS", text)
    assert re.search(r"trainer +\| STARTED", text)
    assert place.registry.versions() == []


def _cli(place: Workplace, which: str) -> str:
    """Return what `ai-workflow trace` prints."""
    command = [Path(sys.executable).with_name("ai-workflow"), "trace", which]
    done = subprocess.run(
        command, cwd=place.folder, env=place.environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
