"""What cleaning promises: good rows typed, bad rows in quarantine with a reason, and no work done twice."""

from __future__ import annotations

import json
from typing import Any

import pandas as pd
import pytest

from ai_workflow.cleaning import row_checks
from ai_workflow.datasets import partition_cache, partitions
from ai_workflow.datasets.partitions import Dataset
from ai_workflow.errors import EmptySourceError, StageError
from ai_workflow.stages import feature_engineering, preprocessor
from ai_workflow.stages.preprocessor import RowRules
from ai_workflow.storage.store import Store
from ai_workflow.telemetry import trace_context
from tests.stages.tables import Made, Pipeline, Result, load, parted, people, rows, settings

pytestmark = pytest.mark.integration

TRACE = "a3f7b2c1" * 4


def rules(**changes: Any) -> RowRules:
    base: dict[str, Any] = {"id": "id", "target": "y", "reject_limit": 1.0}
    return RowRules.of(settings(**{**base, **changes}))


def clean(store: Store, *frames: pd.DataFrame, sources: tuple[str, ...] = (), **changes: Any) -> Result:
    return preprocessor.preprocess(store, load(store, *frames, sources=sources), rules(**changes))


def refused(store: Store, *frames: pd.DataFrame, **changes: Any) -> str:
    with pytest.raises(StageError) as caught:
        clean(store, *frames, **changes)
    assert caught.value.remedy
    assert [name for name in store.names("data/datasets") if name.startswith("clean")] == []
    return str(caught.value)


def quarantined(store: Store, result: Result) -> pd.DataFrame:
    return pd.read_csv(store.local(result["quarantine"]["path"]), keep_default_na=False)


def table(ids: list[str], **columns: list[Any]) -> pd.DataFrame:
    classes = [f"class {number % 2}" for number in range(len(ids))]
    return pd.DataFrame({"id": ids, **columns, **({} if "y" in columns else {"y": classes})})


def numbered(count: int, first: int = 0) -> list[str]:
    return [f"r{number}" for number in range(first, first + count)]


def test_clean_and_rejected_row_counts_are_returned_and_logged(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "ai_pipeline.preprocessor")
    frame = table(numbered(1500), x=[-1] * 2 + [1] * 1498)
    result = clean(store, *parted(frame, 4), schema={"x": {"type": "integer", "min": 0}})
    assert result["message"] == "1498 records cleaned, 2 rejected"
    assert (result["rows"], result["rejected"]) == (1498, 2)
    assert result["message"] in caplog.text


def test_rejected_rows_are_quarantined_with_location_and_reason(store: Store) -> None:
    first = table(["a", "b", "c"], age=["31", "old", "44"], grade=["A", "B", "?"])
    second = table(["d", "e"], age=["200", "28"], grade=["Z", "A"])
    declared = {"age": {"type": "integer", "max": 120}, "grade": {"type": "category", "allowed": ["A", "B"]}}
    with trace_context.bound(trace_id=TRACE):
        result = clean(store, first, second, sources=("one.csv", "two.csv"), schema=declared)
    assert result["quarantine"]["path"] == f"quarantine/{TRACE}/rejected.csv"
    found = quarantined(store, result)
    assert list(found.columns) == ["source", "row", "column", "value", "reason", "record"]
    assert [tuple(line) for line in found.iloc[:, :5].itertuples(index=False)] == [
        ("one.csv", 2, "age", "old", "is not a number"),
        ("one.csv", 3, "grade", "?", "is not an allowed value"),
        ("two.csv", 1, "age", "200", "is above the maximum 120"),
        ("two.csv", 1, "grade", "Z", "is not an allowed value"),
    ]
    assert json.loads(found["record"][2]) == {"id": "d", "age": "200", "grade": "Z", "y": "class 0"}
    assert (result["rows"], result["rejected"]) == (2, 3)


def test_exceeded_reject_limit_fails_stage_and_keeps_quarantine(store: Store) -> None:
    frame = table(numbered(100), x=["bad"] * 7 + ["-5"] * 3 + ["1"] * 90)
    declared = {"x": {"type": "integer", "min": 0}}
    with trace_context.bound(trace_id=TRACE):
        said = refused(store, *parted(frame, 2), schema=declared, reject_limit=0.05)
    place = store.url(f"quarantine/{TRACE}/rejected.csv")
    for part in (
        "10 of 100 rows (10.0%)",
        "reject_limit 5.0%",
        "7x x is not a number (first: rows.csv row 1: 'bad')",
        "3x x is below the minimum 0 (first: rows.csv row 8: '-5')",
        place,
    ):
        assert part in said
    assert len(pd.read_csv(place)) == 10


def test_rejected_rows_at_limit_are_accepted(store: Store) -> None:
    frame = table(numbered(100), x=["bad"] * 5 + ["1"] * 95)
    assert clean(store, frame, schema={"x": {"type": "integer"}}, reject_limit=0.05)["rejected"] == 5


def test_duplicate_id_across_partitions_keeps_first_row(store: Store) -> None:
    first, second = table(["a", "b"], x=[1, 2]), table(["b", "c", "a"], x=[3, 4, 5])
    result = clean(store, first, second)
    assert rows(store, result)[["id", "x"]].to_dict("list") == {"id": ["a", "b", "c"], "x": [1, 2, 4]}
    found = pd.read_csv(store.local(result["duplicate_rows"]["path"]))
    assert [tuple(line) for line in found[["row", "column", "value", "reason"]].itertuples(index=False)] == [
        (3, "id", "b", "repeats an earlier row"),
        (5, "id", "a", "repeats an earlier row"),
    ]


def test_duplicates_are_counted_apart_from_rejected_rows(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "ai_pipeline.preprocessor")
    first, second = table(["a"], x=["1"]), table(["a", "b", "c"], x=["2", "bad", "3"])
    result = clean(store, first, second, schema={"x": {"type": "integer"}})
    assert set(quarantined(store, result)["reason"]) == {"is not a number"}
    assert (result["rows"], result["rejected"], result["duplicates"]) == (2, 1, 1)
    assert result["message"] == "2 records cleaned, 1 rejected, 1 duplicates removed"
    assert f"the duplicates are in {store.url(result['duplicate_rows']['path'])}" in caplog.text


@pytest.mark.parametrize("duplicates", ["rows", "id"])
def test_duplicates_do_not_count_for_reject_limit(store: Store, duplicates: str) -> None:
    frame = pd.DataFrame({"id": ["a", "b", "c"] * 300, "x": [1, 2, 3] * 300, "y": ["p", "q", "p"] * 300})
    result = clean(store, *parted(frame, 3), deduplicate=duplicates, reject_limit=0.0)
    assert (result["rows"], result["rejected"], result["duplicates"]) == (3, 0, 897)
    assert result["quarantine"] is None


@pytest.mark.parametrize("task", ["classification", "regression"])
@pytest.mark.parametrize("declared", [{}, {"nullable": True}])
def test_rows_without_target_are_left_out_and_are_no_rejects(store: Store, task: str, declared: dict[str, Any]) -> None:
    target = [None if number % 4 == 0 else str(number % 2) for number in range(100)]
    schema = {"y": {"type": "number", **declared}} if declared else {}
    frame = table(numbered(100), x=["bad", "bad"] + ["1"] * 98, y=target)
    schema = {"x": {"type": "integer"}, **schema}
    result = clean(store, *parted(frame, 3), task=task, schema=schema, reject_limit=1 / 75)
    assert (result["rows"], result["rejected"], result["without_target"]) == (74, 1, 25)
    assert result["message"] == "74 records cleaned, 1 rejected, 25 without target left out"
    assert quarantined(store, result)[["row", "column"]].to_numpy().tolist() == [[2, "x"]]
    assert rows(store, result)["y"].notna().all()


def test_reject_limit_is_share_of_rows_with_target(store: Store) -> None:
    frame = table(numbered(100), x=["1"] * 98 + ["bad"] * 2, y=[None] * 90 + ["p"] * 10)
    said = refused(store, frame, schema={"x": {"type": "integer"}}, reject_limit=0.1)
    assert "2 of 10 rows with a target (20.0%) were rejected, above reject_limit 10.0%" in said


def test_target_fill_replaces_missing_target(store: Store) -> None:
    frame = table(numbered(4), y=["p", None, "q", None])
    result = clean(store, frame, schema={"y": {"type": "category", "fill": "none"}})
    assert (rows(store, result)["y"].tolist(), result["without_target"]) == (["p", "none", "q", "none"], 0)


def test_all_rows_without_target_error_names_target(store: Store) -> None:
    said = refused(store, table(numbered(4), x=[1, 2, 3, 4], y=[None, "", None, ""]))
    assert "none of 4 rows has a value in the target column 'y'" in said


def test_rejected_row_id_does_not_count_as_duplicate(store: Store) -> None:
    result = clean(store, table(["a", "a"], x=["bad", "1"]), schema={"x": {"type": "integer"}})
    assert rows(store, result)["x"].tolist() == [1]


def test_deduplicate_rows_compares_whole_rows(store: Store) -> None:
    frames = parted(table(["a", "a", "a", "b"], x=[1, 1, 2, 1], y=["k", "k", "k", "m"]), 2)
    assert rows(store, clean(store, *frames, deduplicate="rows"))["x"].tolist() == [1, 2, 1]
    assert clean(store, *frames, deduplicate="id")["rows"] == 2
    assert clean(store, *frames, deduplicate="none")["rows"] == 4


def test_rows_without_id_get_positional_ids_and_are_kept(store: Store) -> None:
    frame = pd.DataFrame({"x": [1, 1], "y": ["k", "m"]})
    result = clean(store, frame, frame, sources=("a.csv", "b.csv"), id=None)
    assert rows(store, result)[partitions.ID].tolist() == ["a.csv:1", "a.csv:2", "b.csv:1", "b.csv:2"]


def test_undeclared_column_types_are_inferred_and_logged(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "ai_pipeline.preprocessor")
    count = 200
    frame = table(
        numbered(count),
        whole=[str(number) for number in range(count)],
        real=[f"{number / 7:.4f}" for number in range(count)],
        day=[f"2024-01-{1 + number % 28:02d}" for number in range(count)],
        kind=[f"kind {number % 5}" for number in range(count)],
        note=[f"note {number} on something" for number in range(count)],
        flag=[number % 2 == 0 for number in range(count)],
    )
    result = clean(store, *parted(frame, 3))
    types = {name: column["type"] for name, column in Dataset.load(store, result).info["schema"].items()}
    assert types == {
        "id": "text", "whole": "integer", "real": "number", "day": "datetime", "kind": "category", "note": "text",
        "flag": "boolean", "y": "category",
    }  # fmt: skip
    assert "1 columns typed by their values as integer: whole" in caplog.text
    assert "as text (left out of the features)" in caplog.text
    typed = rows(store, result)
    assert typed["whole"].sum() == sum(range(count))
    assert typed["day"].max() == pd.Timestamp("2024-01-28")


def test_few_invalid_values_are_rejected_and_keep_column_type(store: Store) -> None:
    frame = table(numbered(100), x=["oops"] + [str(number) for number in range(99)])
    result = clean(store, *parted(frame, 2), reject_limit=0.02)
    assert (result["rows"], result["rejected"]) == (99, 1)
    assert quarantined(store, result)["value"].tolist() == ["oops"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"target": "yy"}, ["target column is missing", "'yy'", "the table has id, age, y", "Did you mean 'y'?"]),
        ({"id": "idd"}, ["id or timestamp column is missing", "'idd'", "Did you mean 'id'?"]),
        ({"timestamp": "when"}, ["id or timestamp column is missing", "'when'"]),
        ({"schema": {"agee": {"type": "integer"}}}, ["declares a column", "'agee'", "Did you mean 'age'?"]),
        ({"schema": {"zzz": {"type": "integer"}}}, ["'zzz'", "source.columns"]),
    ],
)
def test_missing_column_error_suggests_similar_name(store: Store, changes: dict[str, Any], said: list[str]) -> None:
    text = refused(store, table(["a", "b"], age=[1, 2]), **changes)
    for part in said:
        assert part in text


@pytest.mark.parametrize("values", [[None, None, None, None], [float("nan")] * 4])
@pytest.mark.parametrize("declared", [{}, {"x": {"type": "number", "nullable": True}}])
def test_empty_column_error_suggests_drop(store: Store, values: list[Any], declared: dict[str, Any]) -> None:
    frames = parted(table(numbered(4), x=values), 2)
    said = refused(store, *frames, schema=declared)
    assert "column 'x' has no value in any of 4 rows" in said
    assert "schema: {x: {type: text, drop: true}}" in said
    assert clean(store, *frames, schema={"x": {"type": "text", "drop": True}})["rows"] == 4


@pytest.mark.parametrize("limit", [0.01, 0.5, 1.0])
def test_high_reject_limit_does_not_change_inferred_type(store: Store, limit: float) -> None:
    frame = table(numbered(100), x=[str(number % 10) if number % 4 else "word" for number in range(100)])
    assert clean(store, frame, reject_limit=limit)["rejected"] == 0


def test_dropped_column_is_not_in_output(store: Store) -> None:
    result = clean(store, table(["a", "b"], x=["1", "bad"]), schema={"x": {"type": "integer", "drop": True}})
    assert result["rows"] == 2
    assert "x" not in rows(store, result)


def test_all_rows_rejected_error_names_reasons(store: Store) -> None:
    said = refused(store, *parted(table(["a", "b"], x=["p", "q"]), 2), schema={"x": {"type": "integer"}})
    assert "no row is left of 2" in said
    assert "2x x is not a number (first: rows.csv row 1: 'p')" in said


def test_empty_partition_is_dropped_and_others_kept(store: Store) -> None:
    frames = [table(["a"], x=["bad"]), table(["b"], x=["1"]), table(["b"], x=["2"])]
    result = clean(store, *frames, schema={"x": {"type": "integer"}})
    assert [part.rows for part in Dataset.load(store, result).partitions] == [1]


@pytest.mark.parametrize("as_text", [False, True])
def test_nan_is_missing_and_infinity_is_rejected(store: Store, as_text: bool) -> None:
    values: list[Any] = ["1.5", "NaN", "inf", "-inf"] if as_text else [1.5, float("nan"), float("inf"), float("-inf")]
    result = clean(store, table(numbered(4), x=values), schema={"x": {"type": "number", "nullable": True}})
    kept = rows(store, result)["x"]
    assert (kept.iloc[0], kept.isna().tolist()) == (1.5, [False, True])
    assert quarantined(store, result)["reason"].tolist() == ["is not finite"] * 2


def test_fill_applies_to_missing_but_not_invalid_values(store: Store) -> None:
    declared = {
        "x": {"type": "integer", "fill": 7},
        "k": {"type": "category", "fill": "none"},
        "d": {"type": "datetime", "fill": "2024-02-29"},
    }
    frame = table(numbered(3), x=[None, "3", "bad"], k=["a", None, "b"], d=[None, "2024-01-01", "2024-01-01"])
    kept = rows(store, clean(store, frame, schema=declared))
    assert kept["x"].tolist() == [7, 3]
    assert kept["k"].tolist() == ["a", "none"]
    assert kept["d"].tolist() == [pd.Timestamp("2024-02-29"), pd.Timestamp("2024-01-01")]


def test_row_without_id_is_rejected(store: Store) -> None:
    frame = table(["a", "b", "c"], x=[1, 2, 3])
    frame.loc[1, "id"] = None
    result = clean(store, frame)
    assert (result["rows"], result["rejected"]) == (2, 1)
    assert quarantined(store, result)[["row", "column", "reason"]].to_numpy().tolist() == [[2, "id", "is missing"]]


@pytest.mark.parametrize("kind", ["integer", "boolean", "number", "text", "category"])
def test_classes_are_text_for_any_declared_target_type(store: Store, kind: str) -> None:
    pipeline = Pipeline(store, settings(target="y", id="id", schema={"y": {"type": kind}}))
    loaded = load(store, table(numbered(60), x=list(range(60)), y=["0", "1"] * 30))
    spec = feature_engineering.read_spec(store, pipeline.fit(pipeline.clean(loaded)))
    assert spec["classes"] == (["False", "True"] if kind == "boolean" else ["0", "1"])


def test_declared_class_bounds_are_checked(store: Store) -> None:
    frame = table(numbered(4), y=["1", "2", "7", "2"])
    assert clean(store, frame, schema={"y": {"type": "integer", "max": 2}})["rejected"] == 1


def scoring(store: Store, made: Made, *frames: pd.DataFrame, limit: float | None = None) -> Result:
    asked = {} if limit is None else {"inference": {"reject_limit": limit}}
    rules = RowRules.of_spec(made.spec, settings(reject_limit=0.0, **asked))
    return preprocessor.preprocess(store, load(store, *frames), rules)


def batch_with_bad_rows(*bad: int) -> pd.DataFrame:
    frame = people(20, seed=4).drop(columns=["bought", "spent"]).astype({"age": "str"})
    frame.loc[list(bad), "age"] = "old"
    return frame


def test_scoring_quarantines_single_bad_row_with_warning(
    store: Store, bought: Made, caplog: pytest.LogCaptureFixture
) -> None:
    result = scoring(store, bought, *parted(batch_with_bad_rows(7), 2))
    assert (result["rows"], result["rejected"]) == (19, 1)
    assert quarantined(store, result)[["row", "column", "value"]].to_numpy().tolist() == [[8, "age", "old"]]
    [warning] = [record.message for record in caplog.records if record.levelname == "WARNING"]
    assert "1 of 20 rows are rejected and not scored: 1x age is not a number (first: rows.csv row 8: 'old')" in warning


def test_scoring_has_its_own_reject_limit(store: Store, bought: Made) -> None:
    assert scoring(store, bought, batch_with_bad_rows(7), limit=0.05)["rejected"] == 1
    with pytest.raises(StageError, match=r"2 of 20 rows .* above inference.reject_limit 5.0%.*age is not a number"):
        scoring(store, bought, batch_with_bad_rows(7, 8), limit=0.05)


def test_scoring_with_every_row_bad_fails_with_reasons(store: Store, bought: Made) -> None:
    with pytest.raises(StageError, match="no row is left of 20: 20x age is not a number"):
        scoring(store, bought, batch_with_bad_rows(*range(20)))


@pytest.mark.parametrize("limit", [0.0, 1.0])
def test_scoring_accepts_source_without_rows(store: Store, bought: Made, limit: float) -> None:
    result = scoring(store, bought, people(20).iloc[:0], limit=limit)
    assert (result["rows"], result["rejected"], result["message"]) == (0, 0, "0 records cleaned, 0 rejected")


def test_training_without_rows_is_error(store: Store) -> None:
    columns = [{"name": "id", "type": "string"}, {"name": "y", "type": "string"}]
    empty = Dataset("loaded", (), {"columns": columns}).save(store)
    with pytest.raises(EmptySourceError, match="the source has no rows"):
        preprocessor.preprocess(store, empty, rules())


def test_scoring_ignores_missing_target_and_unknown_columns(store: Store, bought: Made) -> None:
    frame = people(20, seed=1).drop(columns=["bought", "spent"])
    plain = rows(store, scoring(store, bought, frame))
    more = rows(store, scoring(store, bought, frame.assign(bought="perhaps", news=range(20))))
    assert "bought" not in plain
    pd.testing.assert_frame_equal(plain, more)


def test_scoring_missing_column_error_suggests_similar_name(store: Store, bought: Made) -> None:
    with pytest.raises(StageError, match=r"the model needs column 'city'.*Did you mean 'citi'\?"):
        scoring(store, bought, people(20).rename(columns={"city": "citi"}))


def test_scoring_accepts_empty_column(store: Store, bought: Made) -> None:
    frame = people(20).assign(income=None, city=None)
    result = scoring(store, bought, *parted(frame, 2))
    assert (result["rows"], result["rejected"]) == (20, 0)


def test_scoring_converts_text_to_training_types(store: Store, bought: Made) -> None:
    frame = people(20, seed=2).drop(columns=["bought", "spent"])
    as_text = frame.astype({"age": "str", "opened": "str", "member": "str"})
    as_text["income"] = [None if pd.isna(value) else str(value) for value in frame["income"]]
    pd.testing.assert_frame_equal(
        rows(store, scoring(store, bought, frame)), rows(store, scoring(store, bought, as_text))
    )


def test_fingerprint_does_not_depend_on_trace_or_store(store: Store, tmp_path_factory: pytest.TempPathFactory) -> None:
    frames, found = parted(table(numbered(50), x=["bad"] + ["1"] * 49), 3), set()
    for number, place in enumerate((store, store, Store(tmp_path_factory.mktemp("other")))):
        with trace_context.bound(trace_id=f"{number:032x}"):
            result = clean(place, *frames, schema={"x": {"type": "integer"}})
        assert place.exists(f"quarantine/{number:032x}/rejected.csv")
        found.add(result["fingerprint"])
    assert len(found) == 1


def test_only_changed_partition_is_cleaned_again(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    frames = [table(numbered(10, first), x=["1"] * 10) for first in (0, 10, 20)]
    sources = ("a.csv", "b.csv", "c.csv")
    before = clean(store, *frames, sources=sources)
    seen: list[str] = []
    check = row_checks.check

    def noted(*args: Any) -> Any:
        seen.append(args[3])
        return check(*args)

    monkeypatch.setattr(row_checks, "check", noted)
    assert clean(store, *frames, sources=sources)["fingerprint"] == before["fingerprint"]
    assert seen == []
    frames[1].loc[3, "x"] = "2"
    after = clean(store, *frames, sources=sources)
    assert seen == ["b.csv"]
    assert after["fingerprint"] != before["fingerprint"]


@pytest.mark.parametrize("damage", [b"", b"PAR1 no more", None])
def test_damaged_clean_partition_is_recomputed_and_logged(
    store: Store, damage: bytes | None, caplog: pytest.LogCaptureFixture
) -> None:
    frames = parted(table(numbered(20), x=["1"] * 20), 2)
    before = clean(store, *frames)
    part = store.local(Dataset.load(store, before).partitions[1].path)
    part.unlink() if damage is None else part.write_bytes(damage)
    after = clean(store, *frames)
    assert after["fingerprint"] == before["fingerprint"]
    assert partition_cache.find_corrupt(store, after) == []
    assert f"data/clean/{part.name} does not match its record and is computed again" in caplog.text
