"""What was predicted is kept without any request waiting for it, and a killed service loses a second of it at most."""

from __future__ import annotations

import hashlib
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from ai_workflow.datasets import partitions
from ai_workflow.inference import prediction_files
from ai_workflow.serving.logs import compaction, prediction_log
from ai_workflow.serving.logs.prediction_log import PredictionLog
from ai_workflow.serving.logs.prediction_record import PredictionRecord
from ai_workflow.storage.store import Store
from ai_workflow.telemetry import metrics
from tests.serving import published_models
from tests.serving.running_service import Running, dumps
from tests.serving.traffic import Traffic

LATEST, STABLE = "model_v1.1", "model_v1.0"
# A compaction has the lowest priority: where other work has all CPUs, its imports alone take a minute.
COMPACTED = 240.0
EVER = datetime.fromtimestamp(0, UTC)


def predictions(root: Path, version: str = LATEST) -> pd.DataFrame:
    """Return all predictions of a version, read as any reader of `predictions/` does."""
    store = Store(root)
    folder = f"{prediction_files.FOLDER}/{published_models.PIPELINE}/{version}"
    manifests = [store.read_record(f"{folder}/{name}/manifest.json") for name in store.names(folder)]
    frames = [partitions.read(store, partitions.Partition(**part)) for body in manifests for part in body["partitions"]]
    return pd.concat(frames) if frames else pd.DataFrame({"prediction_id": []})


def segments(root: Path) -> list[Path]:
    return sorted((root / prediction_log.FOLDER / published_models.PIPELINE).glob("*.jsonl"))


def lines(root: Path) -> list[dict[str, Any]]:
    found = []
    for path in segments(root):
        for line in path.read_bytes().splitlines():
            found.append(json.loads(line))  # noqa: PERF401
    return found


def pipeline(folder: Path, **settings: Any) -> Path:
    """Write the pipeline's file, with the log switched on."""
    return published_models.pipeline(folder, service={"prediction_log": settings}, inference=published_models.PATIENT)


@pytest.mark.slow
def test_predictions_are_logged_with_version_trace_and_features(tmp_path: Path, root: Path) -> None:
    rows = [*published_models.rows(40, 3), {**published_models.ROW, "price": "9.5"}]
    with Running(pipeline(tmp_path, segment_seconds=0.3, values=True), root) as running:
        told = running.predict(*rows)
        store = Store(root)
        running.until(
            lambda: prediction_files.rows_of(store, published_models.PIPELINE, LATEST, EVER) == len(rows), COMPACTED
        )
        running.until(lambda: segments(root) == [], COMPACTED)
    found = predictions(root).set_index("prediction_id").loc[[row["prediction_id"] for row in told["predictions"]]]
    assert found["prediction"].tolist() == [row["prediction"] for row in told["predictions"]]
    assert found["score"].tolist() == [row["score"] for row in told["predictions"]]
    assert set(found["trace_id"]) == {told["trace_id"]}
    assert set(found["model_version"]) == {LATEST}
    assert found["row"].tolist() == list(range(len(rows)))
    assert found[["probability_no", "probability_yes"]].max(axis=1).tolist() == found["score"].tolist()
    assert found[["probability_no", "probability_yes"]].sum(axis=1).tolist() == pytest.approx([1] * len(rows))
    assert [json.loads(values) for values in found["values"]] == rows
    hashes = [hashlib.blake2b(line.tobytes()).hexdigest()[:32] for line in published_models.matrix(rows[:-1])]
    assert found["features"].tolist()[:-1] == hashes
    assert (found["time"] - pd.Timestamp.now("UTC").tz_localize(None)).abs().max() < pd.Timedelta(minutes=5)


@pytest.mark.slow
def test_default_responses_are_logged_separately_without_row_values(tmp_path: Path) -> None:
    root = tmp_path / "store"
    with Running(pipeline(tmp_path), root) as running:
        running.predict(published_models.ROW)
    found = predictions(root, "default")
    assert found["prediction"].tolist() == ["unknown"]
    assert found["fallback_reason"].tolist() == ["no version is published"]
    assert not [name for name in found if name.startswith("probability_")]
    assert "values" not in found


@pytest.mark.parametrize("moment", [pytest.param(each, marks=pytest.mark.slow) for each in (0.9, 1.3)])
def test_sigkill_loses_at_most_last_second_of_predictions(moment: float, tmp_path: Path, root: Path) -> None:
    logged = pipeline(tmp_path, segment_seconds=3600)
    with Running(logged, root) as running, Traffic(running.port, dumps([published_models.ROW])) as traffic:
        time.sleep(moment)
        killed = time.monotonic()
        running.process.send_signal(signal.SIGKILL)
        running.process.wait()
        traffic.stop()
    answered = {told.body["predictions"][0]["prediction_id"]: told.sent + told.seconds for told in traffic.told}
    with Running(logged, root) as running:
        running.until(lambda: segments(root) == [], COMPACTED)
    kept = predictions(root)["prediction_id"].tolist()
    assert len(kept) == len(set(kept)), "none is there twice"
    lost = [moment for name, moment in answered.items() if name not in set(kept)]
    assert all(moment > killed - 1 for moment in lost)
    assert len(kept) >= 50


@pytest.mark.slow
def test_unwritable_log_does_not_block_responses_and_drops_are_counted(tmp_path: Path, root: Path) -> None:
    folder = root / prediction_log.FOLDER / published_models.PIPELINE
    folder.parent.mkdir()
    folder.write_text("a file where a folder should be")
    with Running(pipeline(tmp_path), root) as running:
        for _ in range(3):
            assert running.predict(published_models.ROW)["model_version"] == LATEST
        running.until(lambda: running.metrics()["prediction_log_dropped_total"] == 3)
        running.until(lambda: any("predictions are not logged" in line for line in running.log))
        folder.unlink()
        running.predict(published_models.ROW)
        running.until(lambda: len(lines(root)) == 1)


def book(folder: Path) -> PredictionLog:
    return PredictionLog(folder, values=False, id_column="id", segment_seconds=60, compact=["-c", "pass"])


def record(stem: str = "a", rows: int = 1) -> PredictionRecord:
    sent = [{"id": f"row {row}"} for row in range(rows)]
    return PredictionRecord(1.5, "f" * 32, stem, LATEST, None, ["yes"] * rows, [0.75] * rows, sent, b"\0" * 8 * rows)


def test_full_log_queue_drops_and_counts_rows(tmp_path: Path) -> None:
    full, dropped = book(tmp_path), metrics.get("prediction_log_dropped_total")
    before = dropped._value.get()
    for _ in range(200):
        full.add(record(rows=101))
    assert dropped._value.get() - before == 2 * 101, "20 000 rows wait, no more"


def test_log_queue_is_limited_by_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prediction_log, "_MAX_WAITING_BYTES", 10_000)
    log, dropped = book(tmp_path), metrics.get("prediction_log_dropped_total")
    before = dropped._value.get()
    large = replace(record(), request_bytes=1_000_000, is_small=False)
    for each in (large, large, record()):
        log.add(each)
    assert dropped._value.get() - before == 2, "the large request alone fills the log"
    log._write()
    assert written_lines(tmp_path) == 1
    for _ in range(200):
        log.add(record())
    log._write()
    kept = written_lines(tmp_path) - 1
    assert 10 < kept < 200
    assert dropped._value.get() - before == 2 + 200 - kept
    log.add(replace(record(), request_bytes=9_000, is_small=False))
    assert dropped._value.get() - before == 2 + 200 - kept, "there is room again for what was written"


def written_lines(folder: Path) -> int:
    return sum(path.read_bytes().count(b"\n") for path in folder.glob("*.jsonl"))


@pytest.mark.integration
def test_close_flushes_queued_records_in_order(tmp_path: Path) -> None:
    one = book(tmp_path)
    one.start()
    for number in range(5):
        one.add(record(str(number), rows=1 + 40 * (number % 2)))
    one.close()
    (path,) = tmp_path.glob("*.jsonl")
    found = [json.loads(line) for line in path.read_bytes().splitlines()]
    assert [line["prediction_id"] for line in found if line["row"] == 0] == ["0-0", "1-0", "2-0", "3-0", "4-0"]
    assert len(found) == 3 + 2 * 41
    assert {line["id"] for line in found if line["row"] == 40} == {"row 40"}


def written(folder: Path, *stems: str) -> Path:
    """Leave a segment as a killed service does."""
    path = folder / "dead-000001.jsonl"
    folder.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(book(folder)._lines(record(stem)) for stem in stems))
    return path


def compacted(folder: Path, id_column: str | None, *records: PredictionRecord) -> pd.DataFrame:
    """Return what the log of a pipeline with that id column becomes in `predictions/`."""
    log = PredictionLog(folder / "log", values=False, id_column=id_column, segment_seconds=60, compact=["-c", "pass"])
    (folder / "log").mkdir(parents=True)
    (folder / "log" / "dead-000001.jsonl").write_bytes(b"".join(map(log._lines, records)))
    compaction.compact(Store(folder), folder / "log", published_models.PIPELINE)
    return predictions(folder)


def test_logged_id_and_probabilities_match_scoring_flow_columns(tmp_path: Path) -> None:
    sent = [{"customer": "007"}, {"customer": 8}]
    chances = [0.25, 0.75, 1, 0]
    asked = PredictionRecord(
        1.5, "f" * 32, "a", LATEST, None, ["yes", "no"], [0.75, 1.0], sent, None,
        probabilities=chances, probability_columns=["probability_no", "probability_yes"],
    )  # fmt: skip
    found = compacted(tmp_path, "customer", asked)
    assert found["customer"].tolist() == found["id"].tolist() == ["007", "8"]
    assert found[["probability_no", "probability_yes"]].to_numpy().tolist() == [[0.25, 0.75], [1.0, 0.0]]
    columns = ["customer", "probability_no", "probability_yes"]
    assert [str(found[name].dtype) for name in columns] == [str(found["id"].dtype), "float64", "float64"]
    assert found.columns.get_loc("customer") == found.columns.get_loc("id") + 1


@pytest.mark.parametrize("taken", ["id", "time", "row", "values", "probability_yes", None])
def test_id_column_with_reserved_name_is_stored_as_id_only(tmp_path: Path, taken: str | None) -> None:
    sent = [{"time": "7", "row": "7", "values": "7", "probability_yes": "7", "id": "7"}]
    found = compacted(tmp_path, taken, PredictionRecord(1.5, "f" * 32, "a", LATEST, None, ["yes"], [0.75], sent, None))
    assert found["id"].tolist() == ["7" if taken else None] or found["id"].isna().all()
    assert found["time"].tolist() == [pd.Timestamp(1.5, unit="s")]
    assert found["row"].tolist() == [0]
    assert set(found) == {*compaction._COLUMNS, "source"}


def test_log_lines_of_older_format_are_kept(tmp_path: Path) -> None:
    old = record("old")
    new = replace(record("new"), probabilities=[0.25, 0.75], probability_columns=["probability_no", "probability_yes"])
    found = compacted(tmp_path, "id", old, new).set_index("prediction_id")
    assert found.loc["new-0", "probability_yes"] == 0.75
    assert pd.isna(found.loc["old-0", "probability_yes"])


def test_truncated_log_line_is_skipped(tmp_path: Path) -> None:
    path = written(tmp_path / "log", "a", "b", "c")
    path.write_bytes(path.read_bytes()[:-20])
    assert compaction.compact(Store(tmp_path), tmp_path / "log", published_models.PIPELINE) == 2
    assert predictions(tmp_path)["prediction_id"].tolist() == ["a-0", "b-0"]


@pytest.mark.parametrize(("since", "rows"), [(99, 3), (100, 3), (101, 2), (300, 1), (301, 0)])
def test_rows_before_start_time_are_not_counted(tmp_path: Path, since: int, rows: int) -> None:
    """A segment that is compacted after a probation began also holds answers from before it."""
    (tmp_path / "log").mkdir()
    records = [replace(record(str(at)), timestamp=at) for at in (300.0, 100.0, 200.0)]
    sent = b"".join(map(book(tmp_path)._lines, records))
    (tmp_path / "log" / "dead-000001.jsonl").write_bytes(sent)
    compaction.compact(Store(tmp_path), tmp_path / "log", published_models.PIPELINE)
    moment = datetime.fromtimestamp(since, timezone(timedelta(hours=8)))
    assert prediction_files.rows_of(Store(tmp_path), published_models.PIPELINE, LATEST, moment) == rows


def test_repeated_compaction_of_segment_creates_no_duplicates(
    tmp_path: Path,
) -> None:
    path = written(tmp_path / "log", "a", "b")
    data = path.read_bytes()
    compaction.compact(Store(tmp_path), tmp_path / "log", published_models.PIPELINE)
    path.write_bytes(data)
    compaction.compact(Store(tmp_path), tmp_path / "log", published_models.PIPELINE)
    assert not path.exists()
    assert sorted(predictions(tmp_path)["prediction_id"]) == ["a-0", "b-0"]


@pytest.mark.integration
def test_failed_compaction_reports_error_and_keeps_segment(tmp_path: Path) -> None:
    path = written(tmp_path / "log", "a")
    (tmp_path / "predictions").write_text("a file where a folder should be")
    command = [
        sys.executable,
        "-m",
        "ai_workflow.serving.logs.compaction",
        tmp_path,
        path.parent,
        published_models.PIPELINE,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert f"predictions stay in {path.parent} for now" in done.stderr
    assert "Traceback" not in done.stderr
    assert path.exists()


@pytest.mark.integration
def test_active_segment_is_not_compacted(tmp_path: Path) -> None:
    one = book(tmp_path / "log")
    one.start()
    one.add(record())
    deadline = time.monotonic() + 240
    while not list((tmp_path / "log").glob("*.jsonl")) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert compaction.compact(Store(tmp_path), tmp_path / "log", published_models.PIPELINE) == 0
    one.close()
    assert compaction.compact(Store(tmp_path), tmp_path / "log", published_models.PIPELINE) == 1


# A compaction that records its start, then takes as long and ends as it is told.
RECORDED = """
import pathlib, sys, time
with open(sys.argv[1], "a") as starts:
    starts.write(".")
if pathlib.Path(sys.argv[1]).stat().st_size == 1:
    time.sleep(float(sys.argv[2]))
    sys.exit(int(sys.argv[3]))
"""


@pytest.mark.integration
@pytest.mark.parametrize(("seconds", "status"), [(1.5, 0), (0.0, 1)])
def test_segment_closed_during_or_before_failed_compaction_is_compacted_without_new_traffic(
    seconds: float, status: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prediction_log, "_RETRY_SECONDS", 1.0)
    starts = tmp_path / "starts"
    command = ["-c", RECORDED, str(starts), str(seconds), str(status)]
    one = PredictionLog(tmp_path / "log", values=False, id_column="id", segment_seconds=0.1, compact=command)
    one.start()
    try:
        wait_for(starts.exists)
        if not status:
            one.add(record())
        wait_for(lambda: starts.stat().st_size == 2)
    finally:
        one.close()


@pytest.mark.integration
def test_segment_closed_by_failed_write_is_compacted_without_new_traffic(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prediction_log, "_RETRY_SECONDS", 0.5)
    starts = tmp_path / "starts"
    command = ["-c", RECORDED, str(starts), "0", "0"]
    one = PredictionLog(tmp_path / "log", values=False, id_column="id", segment_seconds=3600, compact=command)
    one.start()
    try:
        wait_for(starts.exists)
        one.add(record())
        wait_for(lambda: written_lines(tmp_path / "log") == 1)
        one.add(replace(record(), is_small=False, predictions=[object()]))
        wait_for(lambda: starts.stat().st_size == 2)
    finally:
        one.close()


def wait_for(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 240
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)
