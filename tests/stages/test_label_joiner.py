"""What joining labels promises: each prediction counts once, by its last label, whenever and however often it comes."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import random
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import sqlalchemy as sa

from ai_workflow.datasets import spill
from ai_workflow.errors import StageError, StoreError
from ai_workflow.evaluation import scores
from ai_workflow.quality import label_store
from ai_workflow.storage.store import Store
from tests import labeled_predictions
from tests.labeled_predictions import HOUR, NOW, ONE, TWO, at, counts, join, predict, settings, write
from tests.own_code import TeamFolder
from tests.serving import published_models
from tests.tables import damage

pytestmark = pytest.mark.integration


def ids(start: int, end: int) -> list[str]:
    return [f"p{number:03d}" for number in range(start, end)]


def answered(store: Store, start: int = 0, end: int = 100, answer: str = "yes", **more: Any) -> None:
    predict(store, dict.fromkeys(ids(start, end), answer), **more)


def kept(store: Store) -> list[str]:
    return [
        name
        for name in store.names(f"{label_store.FOLDER}/{labeled_predictions.PIPELINE}/kept")
        if name.endswith(".json")
    ]


def sent(store: Store, *lines: dict[str, Any], name: str = "a") -> None:
    """Leave labels as the service does."""
    text = "".join(json.dumps(line) + "\n" for line in lines)
    store.write(f"{label_store.FOLDER}/{labeled_predictions.PIPELINE}/service/{name}.jsonl", text.encode())


def test_accuracy_bounds_and_label_delay_are_reported_per_version(store: Store, tmp_path: Path) -> None:
    answered(store, 0, 100)
    answered(store, 100, 110, version=TWO)
    write(tmp_path, [(name, "yes" if number < 90 else "no", at(8)) for number, name in enumerate(ids(0, 100))]
          + [(name, "yes", at(1)) for name in ids(100, 104)])  # fmt: skip
    found = join(store, settings(tmp_path))["standings"]
    lower, upper = scores.wilson_interval(0.9, 100)
    moment = NOW - 8 * HOUR
    assert found[ONE] == {
        "labeled_total": 100,
        "correct_total": 90,
        "window": {"labeled": 100, "correct": 90, "accuracy": 0.9, "lower": lower, "upper": upper,
                   "from": moment, "to": moment},
        "last_label": moment,
        "label_delay": {"0.5": 2 * HOUR, "0.9": 2 * HOUR},
    }  # fmt: skip
    assert (found[TWO]["labeled_total"], found[TWO]["window"]["accuracy"]) == (4, 1)


def test_repeated_join_gives_same_result_without_new_records(store: Store, tmp_path: Path) -> None:
    answered(store)
    write(tmp_path, [(name, "yes", at(1)) for name in ids(0, 50)])
    first = join(store, settings(tmp_path))
    assert first["new"] == 50
    again = join(store, settings(tmp_path))
    assert again["standings"] == first["standings"]
    assert (again["new"], again["repeated"]) == (0, 50)
    assert len(kept(store)) == 1


@pytest.mark.parametrize("order", ["labels first", "predictions first", "the source is emptied between"])
def test_label_and_prediction_join_in_any_order(order: str, store: Store, tmp_path: Path) -> None:
    asked = settings(tmp_path)
    labels = [(name, "yes", at(1)) for name in ids(0, 60)]
    if order == "labels first":
        write(tmp_path, labels)
        early = join(store, asked)
        assert (early["waiting"], early["standings"]) == (60, {})
        answered(store)
    elif order == "predictions first":
        answered(store)
        write(tmp_path, [])
        assert counts(join(store, asked)) == (0, 0)
        write(tmp_path, labels)
    else:
        write(tmp_path, labels)
        join(store, asked)
        write(tmp_path, [])
        answered(store)
    assert counts(join(store, asked)) == (60, 60)


def test_deleted_labels_and_predictions_stay_counted(store: Store, tmp_path: Path) -> None:
    answered(store)
    write(tmp_path, [(name, "yes", at(2)) for name in ids(0, 50)])
    join(store, settings(tmp_path))
    store.remove(f"predictions/{labeled_predictions.PIPELINE}")
    write(tmp_path, [(name, "no", at(1)) for name in ids(0, 10)])
    assert counts(join(store, settings(tmp_path))) == (50, 40)


def test_predictions_join_with_or_without_id_and_probability_columns(store: Store, tmp_path: Path) -> None:
    """Older files have neither column."""
    predict(store, {"a": "yes", "b": "no"})
    predict(store, {"c": "yes"}, customer=["007"], probability_no=[0.25], probability_yes=[0.75])
    write(tmp_path, [(name, "yes", at(1)) for name in "abc"])
    assert counts(join(store, settings(tmp_path))) == (3, 2)


def test_duplicate_predictions_and_labels_count_once(store: Store, tmp_path: Path) -> None:
    for _ in range(3):
        answered(store)
    write(tmp_path, [(name, "yes", at(hours)) for hours in (5, 5, 4) for name in ids(0, 20)])
    found = join(store, settings(tmp_path))
    assert counts(found) == (20, 20)
    assert found["contradicting"] == 0
    assert found["standings"][ONE]["label_delay"]["0.9"] == 5 * HOUR, "it was known when it was said first"


def test_latest_of_contradicting_labels_counts_with_warning(
    store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    answered(store)
    told = [("p000", "no", at(5)), ("p000", "yes", at(3)), ("p001", "yes", at(5)), ("p001", "no", at(3))]
    found = []
    for shuffle in range(4):
        random.Random(shuffle).shuffle(told)
        write(tmp_path, told[:3])
        join(store, settings(tmp_path))
        write(tmp_path, told[3:])
        found.append(join(store, settings(tmp_path)))
    assert {counts(each) for each in found} == {(2, 1)}
    assert found[-1]["contradicting"] == 2
    assert "2 with labels that differ, the last of which counts" in found[-1]["message"]
    assert "labels differ, as those of p000" in caplog.text


def test_labels_without_timestamp_use_join_time(store: Store, tmp_path: Path) -> None:
    answered(store)
    asked = settings(tmp_path, evaluation={"time": None})
    header = ("prediction_id", "label")
    seen = []
    for hours, labels in enumerate((["no", "yes"], ["yes"], ["no"], ["no"], ["yes"])):
        write(tmp_path, [("p000", label) for label in labels], header)
        found = join(store, asked, NOW + hours * HOUR)
        seen.append((*counts(found), found["standings"][ONE]["last_label"] - NOW))
    assert seen == [(1, 1, 0), (1, 1, 0), (1, 0, 2 * HOUR), (1, 0, 2 * HOUR), (1, 1, 4 * HOUR)]


def test_service_labels_are_counted_and_segments_removed(store: Store) -> None:
    answered(store)
    lines = [{"prediction_id": name, "label": "yes", "time": NOW - HOUR} for name in ids(0, 7)]
    sent(store, *lines)
    assert counts(join(store, settings())) == (7, 7)
    assert store.names(f"{label_store.FOLDER}/{labeled_predictions.PIPELINE}/service") == []
    # The service was killed before it knew that it had handed them over.
    sent(store, *lines)
    sent(store, *lines[:3], {"prediction_id": "p050", "label": "no", "time": NOW}, name="b")
    assert counts(join(store, settings())) == (8, 7)


def test_torn_segment_line_is_skipped(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    answered(store)
    line = json.dumps({"prediction_id": "p000", "label": "yes", "time": NOW})
    path = f"{label_store.FOLDER}/{labeled_predictions.PIPELINE}/service/a.jsonl"
    store.write(path, f"{line}\n{line[:20]}".encode())
    assert counts(join(store, settings())) == (1, 1)
    assert "line 2 is incomplete" in caplog.text


def test_window_covers_latest_labels_and_totals_cover_all(store: Store, tmp_path: Path) -> None:
    answered(store)
    write(tmp_path, [(name, "yes" if number >= 70 else "no", at(100 - number)) for number, name in
                     enumerate(ids(0, 100))])  # fmt: skip
    found = join(store, settings(tmp_path, evaluation={"window": 40}))["standings"][ONE]
    assert (found["labeled_total"], found["correct_total"]) == (100, 30)
    assert found["window"]["labeled"] == 40
    assert found["window"]["accuracy"] == 0.75
    assert found["window"]["from"] == NOW - 40 * HOUR
    by_days = join(store, settings(tmp_path, evaluation={"window": 40, "days": 1}))["standings"][ONE]["window"]
    assert (by_days["labeled"], by_days["accuracy"]) == (24, 1)


def test_too_few_labels_give_no_accuracy(store: Store, tmp_path: Path) -> None:
    answered(store)
    answered(store, 100, 110, version=TWO)
    write(tmp_path, [(name, "yes", at(1)) for name in ids(0, 29)])
    found = join(store, settings(tmp_path, evaluation={"minimum": 30}))["standings"]
    window = found[ONE]["window"]
    assert (window["labeled"], window["accuracy"], window["lower"], window["upper"]) == (29, None, None, None)
    assert found[TWO] == {
        "labeled_total": 0,
        "correct_total": 0,
        "window": {"labeled": 0, "correct": 0, "accuracy": None, "lower": None, "upper": None, "from": None,
                   "to": None},
        "last_label": None,
        "label_delay": {"0.5": None, "0.9": None},
    }  # fmt: skip


def test_regression_prediction_is_correct_within_tolerance(store: Store, tmp_path: Path) -> None:
    predict(store, {"a": 1.0, "b": 2.5, "c": float("nan")})
    write(tmp_path, [("a", 1.5, at(1)), ("b", "1.99", at(1)), ("c", 0, at(1))])
    asked = {"task": "regression", "evaluation": {"tolerance": 0.5}}
    assert counts(join(store, settings(tmp_path, **asked))) == (3, 1)
    with pytest.raises(StageError, match=r"evaluation\.tolerance is not set.*Set it to the largest"):
        join(store, settings(tmp_path, task="regression"))


def test_row_label_applies_to_all_predictions_of_row(store: Store, tmp_path: Path) -> None:
    predict(store, {"a": "yes", "b": "no", "c": "yes"}, id=["r1", "r1", None])
    predict(store, {"d": "no"}, TWO, id=["r2"])
    write(tmp_path, [("r1", "yes", at(1)), ("r2", "yes", at(1)), ("r3", "yes", at(1))], ("number", "label", "at"))
    asked = settings(tmp_path, id="number", evaluation={"id": "number"})
    for _ in range(2):
        found = join(store, asked)
        assert counts(found) == (2, 1)
        assert counts(found, TWO) == (1, 0)


def test_default_response_labels_are_reported_without_version(store: Store, tmp_path: Path) -> None:
    answered(store, version="default")
    write(tmp_path, [("p000", "yes", at(1))])
    found = join(store, settings(tmp_path))
    assert found["standings"] == {}
    assert "1 of the default response" in found["message"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("prediction_id,label,at\np000,yes,2026-01-01\np001,no,soon\np002,no,later\n",
         r"labels\.csv, row 3: column 'at' is not a date \(ISO 8601\) \(and 1 more rows\)\. Fix the label"),
        ("prediction_id,answer,at\np000,yes,2026-01-01\n",
         r"labels\.csv have no column 'label'; available: prediction_id, answer, at\. Set evaluation\.label"),
        ("pid,label,at\np000,yes,2026-01-01\n", r"no column 'prediction_id'.*Set evaluation\.id"),
        ("prediction_id,label,at\np000,yes\n", r"labels\.csv, row 2: 3 columns expected, 2 found"),
        ("", r"labels\.csv is empty"),
    ],
)  # fmt: skip
def test_malformed_label_file_is_rejected_with_row(text: str, said: str, store: Store, tmp_path: Path) -> None:
    answered(store)
    (tmp_path / "labels.csv").write_text(text)
    with pytest.raises(StageError, match=said):
        join(store, settings(tmp_path))
    assert kept(store) == []


def test_non_numeric_regression_label_is_rejected_and_counted(
    store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    predict(store, {"a": 1.0, "b": 1.0})
    write(tmp_path, [("a", "much", at(1)), ("b", " 1.0 ", at(1))])
    found = join(store, settings(tmp_path, task="regression", evaluation={"tolerance": 1}))
    assert counts(found) == (1, 1)
    assert found["rejected"] == 1
    assert "1 labels rejected" in found["message"]
    assert "labels.csv, row 2: the label 'much' is not a number" in caplog.text


def test_unknown_class_labels_are_rejected_by_version_rules(
    store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    spec = {**published_models.spec(), "cells": {"strip": True, "missing": ["?"]}}
    published_models.publish(Path(store.root), 0, features=json.dumps(spec).encode())
    predict(store, {"a": "yes", "b": "yes", "c": "yes", "d": "no"})
    write(tmp_path, [("a", "  yes ", at(1)), ("b", "no such class", at(1)), ("c", "?", at(1)), ("d", "no", at(1))])
    asked = settings(tmp_path)
    for _ in range(2):
        found = join(store, asked)
        assert counts(found) == (2, 2)
        assert found["rejected"] == 1
    assert "labels.csv, row 3: the label 'no such class' is none of the classes 'no', 'yes'" in caplog.text


def test_stored_service_label_is_parsed_by_version_rules(store: Store, tmp_path: Path) -> None:
    published_models.publish(
        Path(store.root), 0, features=json.dumps({**published_models.spec(), "cells": {"strip": True}}).encode()
    )
    predict(store, {"a": "yes", "b": "yes"})
    sent(
        store, *({"prediction_id": key, "label": label, "time": NOW - 60} for key, label in (("a", " yes"), ("b", "?")))
    )
    found = join(store, settings())
    assert counts(found) == (1, 1)
    assert found["rejected"] == 1


def test_rows_without_id_or_label_and_empty_table_are_ignored(store: Store, tmp_path: Path) -> None:
    answered(store)
    asked = settings(tmp_path)
    write(tmp_path, [])
    assert counts(join(store, asked)) == (0, 0)
    asked = settings(tmp_path, evaluation={"source": {"kind": "csv", "path": str(tmp_path / "labels.csv"),
                                                      "missing": [""]}})  # fmt: skip
    write(tmp_path, [("", "yes", at(1)), ("p000", "", at(1)), ("p001", "yes", at(1))])
    assert counts(join(store, asked)) == (1, 1)


def test_labels_are_read_from_parquet_and_sql(store: Store, tmp_path: Path) -> None:
    predict(store, dict.fromkeys(ids(0, 9), "1"))
    table = pd.DataFrame({"prediction_id": ids(0, 6), "label": [1, 1, 1, 1, 0, None], "at": pd.Timestamp(at(1))})
    table.to_parquet(tmp_path / "labels.parquet")
    parquet = {"kind": "parquet", "path": str(tmp_path / "labels.parquet")}
    assert counts(join(store, settings(evaluation={"source": parquet, "time": "at"}))) == (5, 4)
    engine = sa.create_engine(f"sqlite:///{tmp_path}/labels.db")
    table.assign(prediction_id=ids(3, 9)).to_sql("labels", engine, index=False)
    engine.dispose()
    sql = {"kind": "sql", "url": f"sqlite:///{tmp_path}/labels.db", "table": "labels"}
    assert counts(join(store, settings(evaluation={"source": sql, "time": "at"}))) == (8, 7), "of p004, 1 comes last"


def test_join_memory_does_not_depend_on_label_count(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spill, "MAX_ROWS_IN_MEMORY", 100)
    for start in range(0, 800, 400):
        answered(store, start, start + 400)
    write(tmp_path, [(name, "yes" if number % 4 else "no", at(1)) for number, name in enumerate(ids(0, 600))])
    seen: list[int] = []
    whole = spill.SpillPartitions.read

    def read(self: spill.SpillPartitions, number: int) -> Any:
        table = whole(self, number)
        seen.append(table.num_rows)
        return table

    monkeypatch.setattr(spill.SpillPartitions, "read", read)
    found = join(store, settings(tmp_path))
    assert counts(found) == (600, 450)
    assert max(seen) < 200
    assert counts(join(store, settings(tmp_path))) == (600, 450)


def test_label_records_are_compacted_without_loss(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(label_store, "_MAX_RECORDS", 3)
    answered(store)
    for number in range(9):
        write(tmp_path, [(f"p{number:03d}", "yes", at(9 - number))])
        assert counts(join(store, settings(tmp_path))) == (number + 1, number + 1)
        assert len(kept(store)) <= 4
    files = store.names(f"{label_store.FOLDER}/{labeled_predictions.PIPELINE}/kept")
    assert len([name for name in files if name.endswith(".parquet")]) <= 2 * len(kept(store)), "none is left over"


def test_drift_inputs_are_deleted_after_24_hours(store: Store) -> None:
    for hours in range(0, 100, 5):
        answered(store, hours, hours + 5)
        found = join(store, settings(), NOW + hours * HOUR)
        assert store.matches(found["latest"][ONE]["path"], found["latest"][ONE]["sha256"])
    folder = Path(found["latest"][ONE]["path"]).parent
    assert len(store.names(str(folder))) == 5


def test_predictions_older_than_label_days_are_not_joined(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def written(days: float) -> None:
        newest = store.names(f"predictions/{labeled_predictions.PIPELINE}/{ONE}")[-1]
        file = store.local(f"predictions/{labeled_predictions.PIPELINE}/{ONE}/{newest}/manifest.json")
        os.utime(file, (NOW - days * 24 * HOUR,) * 2)

    store, asked = Store(tmp_path / "var"), settings(tmp_path, evaluation={"label_days": 30})
    answered(store, 0, 50)
    written(days=29)
    write(tmp_path, [(name, "yes", at(2)) for name in ids(0, 10)])
    assert counts(join(store, asked)) == (10, 10)
    written(days=31)
    # Whoever opens it says so.
    damage(store, f"predictions/{labeled_predictions.PIPELINE}/{ONE}/service-0000/part-00000.parquet", "a bit flipped")
    answered(store, 50, 100)
    written(days=29)
    write(tmp_path, [(name, "yes", at(1)) for name in ids(0, 100)])
    assert counts(join(store, asked)) == (60, 60)
    assert "damaged" not in caplog.text
    join(store, settings(tmp_path, evaluation={"label_days": 32}))
    assert "damaged" in caplog.text


class _Killed(BaseException):
    """The process ends here."""


def dies_at(number: int, patched: pytest.MonkeyPatch) -> None:
    """Let the process end before the so manieth time that it writes or removes something."""
    left = [number]

    def dying(step: Any) -> Any:
        def one(self: Store, *given: Any) -> Any:
            left[0] -= 1
            if left[0] == 0:
                raise _Killed
            return step(self, *given)

        return one

    for name in ("write", "_commit", "remove"):
        patched.setattr(Store, name, dying(getattr(Store, name)))


def half_kept(root: Path) -> Store:
    """A store where a join has labels to keep, segments to let go of, and records to make one of."""
    store = Store(root)
    answered(store)
    for name, first in (("a", 40), ("b", 50), ("c", 60)):
        sent(store, {"prediction_id": f"p{first:03d}", "label": "no", "time": NOW - HOUR}, name=name)
        if name != "c":
            join(store, settings())
    return store


@pytest.mark.parametrize("stride", [5, pytest.param(1, marks=pytest.mark.slow)])
def test_join_killed_between_writes_gives_same_result_on_rerun(
    stride: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(label_store, "_MAX_RECORDS", 1)
    write(tmp_path, [(name, "yes", at(1)) for name in ids(0, 30)])
    whole = join(half_kept(tmp_path / "whole"), settings(tmp_path))["standings"]
    assert whole[ONE]["labeled_total"] == 33
    lived = False
    for number in itertools.count(2, stride):
        store = half_kept(tmp_path / f"killed-{number}")
        with monkeypatch.context() as patched, contextlib.suppress(_Killed):
            dies_at(number, patched)
            join(store, settings(tmp_path))
            lived = True
        for _ in range(2):
            assert join(store, settings(tmp_path))["standings"] == whole
        if lived:
            break
    assert number > 10, "it was killed on the way, and got through in the end"


def test_damaged_predictions_are_skipped_but_damaged_labels_fail(
    store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    answered(store, 0, 50)
    answered(store, 50, 100)
    damage(store, f"predictions/{labeled_predictions.PIPELINE}/{ONE}/service-0000/part-00000.parquet", "a bit flipped")
    write(tmp_path, [(name, "yes", at(1)) for name in ids(0, 100)])
    assert counts(join(store, settings(tmp_path))) == (50, 50)
    assert "service-0000/part-00000.parquet is missing or damaged" in caplog.text
    (name,) = kept(store)
    damage(store, f"{label_store.FOLDER}/{labeled_predictions.PIPELINE}/kept/{name[:-5]}-labels.parquet", "cut short")
    with pytest.raises(StoreError, match=r"Restore it, or remove its \.json"):
        join(store, settings(tmp_path))


def test_labels_come_from_own_code(store: Store, tmp_path: Path) -> None:
    answered(store)
    write(tmp_path, [(name, "yes", at(1)) for name in ids(0, 50)])
    team = TeamFolder(tmp_path)
    team.write(
        "team_labels.py",
        """
        import pandas as pd

        class Labels:
            def __init__(self, path):
                self.path = path

            def version(self):
                return None

            def read(self):
                yield from pd.read_csv(self.path, chunksize=20)
        """,
    )
    try:
        path = str(tmp_path / "labels.csv")
        from_file = join(store, settings(tmp_path))
        source = {"kind": "team_labels:Labels", "params": {"path": path}}
        from_code = join(store, settings(tmp_path, evaluation={"source": source, "time": "at"}))
    finally:
        team.forget()
    assert from_code["standings"] == from_file["standings"]
    assert counts(from_code) == (50, 50)
