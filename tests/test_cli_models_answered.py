"""`ai-workflow models answered`: the version that really answered, by the predictions that are stored."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from ai_workflow.cli import main
from ai_workflow.cli.period_option import span
from ai_workflow.errors import AiWorkflowError
from ai_workflow.inference import prediction_files
from ai_workflow.storage.store import Store
from ai_workflow.telemetry.journal import RUN, STARTED, Event, Journal
from tests import labeled_predictions
from tests.tables import damage

DAY = datetime(2024, 3, 4)  # noqa: DTZ001 - local time, as a person writes it
Asked = Callable[..., tuple[int, list[str], str]]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    (tmp_path / "store").mkdir()
    return Store(tmp_path / "store")


@pytest.fixture
def asked(tmp_path: Path, store: Store, capsys: pytest.CaptureFixture[str]) -> Asked:
    """Ask the command about the pipeline of `labeled`; its exit code, lines and error."""
    path = tmp_path / "shop.yaml"
    base = {
        "pipeline": labeled_predictions.PIPELINE,
        "task": "classification",
        "source": {"kind": "sample"},
        "target": "target",
    }
    path.write_text(yaml.safe_dump(base))

    def ask(at: str) -> tuple[int, list[str], str]:
        try:
            main.main(["models", "answered", "--at", at, "--pipeline", str(path), "--store", store.root])
            code = 0
        except SystemExit as ended:
            code = int(ended.code or 0)
        out, error = capsys.readouterr()
        return code, out.splitlines(), error

    return ask


def answer(store: Store, version: str, at: datetime, *reasons: str | None, **more: Any) -> None:
    """Store answers of the service."""
    names = {f"{version}-{at.isoformat()}-{number}": "yes" for number in range(len(reasons))}
    texts = pd.Series(list(reasons), dtype="str")
    labeled_predictions.predict(store, names, version, at.astimezone().timestamp(), fallback_reason=texts, **more)


def cells(line: str) -> list[str]:
    return line.replace(" %", "%").split()


def test_day_report_shows_rows_shares_and_fallback_reasons(store: Store, asked: Asked) -> None:
    answer(store, "model_v1.1", DAY + timedelta(hours=1), *[None] * 14)
    answer(store, "model_v1.0", DAY + timedelta(hours=2), *["model_v1.1: timeout"] * 3, "model_v1.1: crashed")
    answer(store, "default", DAY + timedelta(hours=3), *["model_v1.1: timeout; model_v1.0: timeout"] * 2)
    for other in (DAY - timedelta(seconds=1), DAY + timedelta(days=1)):
        answer(store, "model_v1.1", other, *[None] * 50)
    code, lines, _ = asked("2024-03-04")
    assert code == 0
    assert lines[0] == "2024-03-04: 20 rows answered, 10.0 % by the default response"
    assert cells(lines[2]) == ["model_v1.1", "14", "70.0%", "14", "0", "2024-03-04T01:00:00", "2024-03-04T01:00:00"]
    assert cells(lines[3])[:3] == ["model_v1.0", "4", "20.0%"]
    assert cells(lines[4]) == ["3", "after", "model_v1.1:", "timeout"]
    assert cells(lines[5]) == ["1", "after", "model_v1.1:", "crashed"]
    assert cells(lines[6])[:3] == ["default", "2", "10.0%"]
    assert len(lines) == 8


@pytest.mark.parametrize(
    ("at", "rows"),
    [("2024-03-04T10", 4), ("2024-03-04T10:30", 3), ("2024-03-04T10:30:05", 2), ("2024-03-04 10:30", 3),
     ("20240304", 5), ("2024-W10-1", 5), ("20240304T1030", 3)],
)  # fmt: skip
def test_timestamp_precision_sets_time_range(store: Store, asked: Asked, at: str, rows: int) -> None:
    for clock in ("10:30:05", "10:30:05.9", "10:30:06", "10:31", "11:00"):
        answer(store, "model_v1.0", datetime.fromisoformat(f"2024-03-04T{clock}"), None)
    assert asked(at)[1][0].startswith(f"{at}: {rows} rows answered, 0.0 %")


def test_timestamp_offset_is_respected() -> None:
    begin, end = span("2024-03-04T10:00+05:00")
    assert (begin.isoformat(), end - begin) == ("2024-03-04T05:00:00+00:00", timedelta(minutes=1))
    begin, end = span("2024-03-04T10-05:00")
    assert (begin.isoformat(), end - begin) == ("2024-03-04T15:00:00+00:00", timedelta(hours=1))


def test_todays_report_notes_delayed_storage(store: Store, asked: Asked) -> None:
    now = datetime.now()  # noqa: DTZ005 - local time, as a person writes it
    answer(store, "model_v1.0", datetime.combine(now, datetime.min.time()), None)
    code, lines, _ = asked(now.strftime("%Y-%m-%d"))
    assert (code, lines[-1]) == (0, "note: the service stores its predictions up to 300 s later (segment_seconds)")


@pytest.mark.parametrize("later", [timedelta(hours=1), timedelta(days=2)])
def test_future_timestamp_is_rejected(asked: Asked, later: timedelta) -> None:
    code, lines, error = asked((datetime.now() + later).isoformat())  # noqa: DTZ005 - local time
    assert (code, lines) == (2, [])
    assert "is in the future" in error


@pytest.mark.parametrize("text", ["yesterday", "2024-13-01", "", "9999-12-31"])
def test_invalid_timestamp_is_rejected(text: str) -> None:
    with pytest.raises(AiWorkflowError, match="--at"):
        span(text)


def test_missing_predictions_error_suggests_models_history(asked: Asked) -> None:
    code, lines, error = asked("2024-03-04")
    assert (code, lines) == (2, [])
    assert re.search(r"no prediction of the pipeline shop is stored in /\S+/predictions for 2024-03-04\. ", error)
    assert "models history --at" in error


@pytest.mark.parametrize("has_journal", [True, False])
def test_scoring_rows_use_run_start_or_file_time(
    store: Store, asked: Asked, has_journal: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    trace_id = "a3f7b2c1" * 4
    noon = (DAY + timedelta(hours=12)).astimezone()
    if has_journal:
        Journal(store).write(
            Event(trace_id, labeled_predictions.PIPELINE, "scoring", RUN, STARTED, time=noon.isoformat())
        )
    else:
        monkeypatch.setattr(Store, "modified", lambda *_: noon)
    scored(store, trace_id)
    code, lines, error = asked("2024-03-04")
    assert code == 0, error
    assert cells(lines[2]) == ["model_v1.0", "3", "100.0%", "0", "3", "2024-03-04T12:00:00", "2024-03-04T12:00:00"]


def scored(store: Store, trace_id: str) -> None:
    """Store three predictions as the scoring flow does."""
    frame = pd.DataFrame({
        "prediction_id": ["a", "b", "c"], "id": ["1", "2", "3"], "prediction": "yes", "model_version": "model_v1.0",
        "trace_id": trace_id,
    })  # fmt: skip
    labeled_predictions.store_frame(store, frame, "model_v1.0", "0123456789abcdef")


def test_damaged_prediction_file_is_skipped(store: Store, asked: Asked) -> None:
    answer(store, "model_v1.0", DAY, *[None] * 3)
    answer(store, "model_v1.0", DAY, None)
    folder = f"{prediction_files.FOLDER}/{labeled_predictions.PIPELINE}/model_v1.0"
    damage(store, f"{folder}/service-0000/part-00000.parquet", "a bit flipped")
    assert asked("2024-03-04")[1][0].startswith("2024-03-04: 1 rows answered")


def test_long_reason_list_is_truncated_and_escaped(store: Store, asked: Asked) -> None:
    answer(store, "model_v1.0", DAY, *[f"reason {number}\n\x1b[31m{'x' * 999}" for number in range(15)])
    lines = asked("2024-03-04")[1]
    assert len(lines) == 3 + 10 + 1
    assert lines[-1].strip() == "and after 5 other reasons"
    assert all(line.isprintable() and len(line) < 250 for line in lines)
