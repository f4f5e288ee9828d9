"""What features promise: fitted on training rows only, the same for the same rows, the same when scoring."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from ai_workflow.datasets import split
from ai_workflow.datasets.partitions import ID
from ai_workflow.errors import StageError
from ai_workflow.features import feature_columns
from ai_workflow.features import transform as features
from ai_workflow.stages import feature_engineering
from ai_workflow.stages.feature_engineering import HOLDOUT, TARGET
from ai_workflow.storage.store import Store
from tests.stages.tables import Made, Pipeline, Result, load, parted, people, rows, settings

pytestmark = pytest.mark.integration


def pipeline(store: Store, **changes: Any) -> Pipeline:
    return Pipeline(store, settings(**changes))


def fit(store: Store, *frames: pd.DataFrame, **changes: Any) -> tuple[dict[str, Any], pd.DataFrame]:
    """Return the spec and all feature rows."""
    made = featured(store, *frames, **changes)
    return feature_engineering.read_spec(store, made), rows(store, made)


def featured(store: Store, *frames: pd.DataFrame, **changes: Any) -> Result:
    run = pipeline(store, **changes)
    return run.fit(run.clean(load(store, *frames)))


def refused(store: Store, *frames: pd.DataFrame, **changes: Any) -> str:
    with pytest.raises(StageError) as caught:
        fit(store, *frames, **changes)
    assert caught.value.remedy
    return str(caught.value)


def held(frame: pd.DataFrame) -> np.ndarray:
    """Return which rows the hash of the id holds out."""
    return split.is_holdout(pd.DataFrame({ID: frame["person"]}), {"holdout": 0.2})


def test_feature_count_is_returned_and_logged(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "ai_pipeline.feature_engineering")
    frame = pd.DataFrame({f"x{number}": range(50) for number in range(256)})
    result = featured(store, frame.assign(y=["a", "b"] * 25), target="y", id=None)
    assert result["message"] == "256 features generated"
    assert result["features"] == 256
    assert result["message"] in caplog.text


def test_holdout_rows_do_not_affect_feature_spec(store: Store) -> None:
    frame = people()
    absurd = frame.copy()
    out = held(frame)
    assert 0.1 < out.mean() < 0.3
    never = pd.Timestamp("2200-12-31 23:59:59")
    new: dict[str, Any] = {"age": 10**9, "city": "Atlantis", "spent": -1e30, "income": None, "opened": never}
    for name, value in new.items():
        absurd[name] = absurd[name].mask(out, value)
    before, _ = fit(store, *parted(frame, 3))
    after, _ = fit(store, *parted(absurd, 3))
    assert after == before


def test_training_rows_affect_feature_spec(store: Store) -> None:
    frame = people()
    moved = frame.copy()
    moved.loc[np.flatnonzero(~held(frame))[0], "age"] = 10**9
    assert fit(store, moved)[0]["statistics"]["age"]["max"] == 1e9
    assert fit(store, frame)[0]["statistics"]["age"]["max"] == 80


@pytest.mark.slow
@pytest.mark.parametrize("timestamp", [None, "opened"])
@pytest.mark.parametrize("count", [1, 5])
def test_features_do_not_depend_on_partitioning(
    store: Store, tmp_path_factory: pytest.TempPathFactory, count: int, timestamp: str | None
) -> None:
    frame = people()
    spec, made = fit(store, *parted(frame, 3), timestamp=timestamp)
    other, again = fit(Store(tmp_path_factory.mktemp("other")), *parted(frame, count), timestamp=timestamp)
    for name in ("features", "classes", "split", "schema", "training_rows"):
        assert other[name] == spec[name]
    pd.testing.assert_frame_equal(again, made)
    for name in ("present", "missing", "min", "max"):
        assert other["statistics"]["income"][name] == spec["statistics"]["income"][name]
    for name in ("mean", "std", "median"):
        assert other["statistics"]["income"][name] == pytest.approx(spec["statistics"]["income"][name], rel=0.02)


def test_statistics_use_training_rows_only(store: Store) -> None:
    frame = people()
    training = frame[~held(frame)]
    spec, made = fit(store, *parted(frame, 4))
    assert spec["training_rows"] == len(training) == (~made[HOLDOUT]).sum()
    seen = spec["statistics"]["age"]
    assert seen["mean"] == pytest.approx(training["age"].mean())
    assert seen["std"] == pytest.approx(training["age"].std(ddof=0))
    assert dict(map(tuple, spec["statistics"]["city"]["counts"])) == training["city"].value_counts().to_dict()
    assert spec["statistics"]["income"]["missing"] == training["income"].isna().sum()


def test_unseen_category_has_own_index(store: Store, bought: Made) -> None:
    cities: list[Any] = ["Aachen", "Atlantis", None, "Mu"]
    frame = people(4).assign(city=cities)
    column = rows(bought.pipeline.store, bought.to_score(frame))["city"]
    vocabulary = next(feature["vocabulary"] for feature in bought.spec["features"] if feature["name"] == "city")
    assert column.tolist()[:2] == [vocabulary.index("Aachen"), len(vocabulary)]
    assert np.isnan(column[2])
    assert column[3] == len(vocabulary)


def test_rare_and_surplus_categories_share_unseen_index(store: Store) -> None:
    values = ["a"] * 50 + ["b"] * 30 + ["c"] * 19 + ["d"]
    frame = pd.DataFrame({"x": values, "y": ["0", "1"] * 50})
    changes: dict[str, Any] = {"target": "y", "id": None}
    spec, made = fit(store, frame, features={"min_count": 5}, **changes)
    assert spec["features"][0]["vocabulary"] == ["a", "b", "c"]
    assert made["x"].iloc[-1] == 3
    spec, made = fit(store, frame, features={"max_categories": 1}, **changes)
    assert spec["features"][0]["vocabulary"] == ["a"]
    assert set(made["x"].iloc[50:]) == {1.0}


def test_date_is_split_into_parts_and_missing_date_is_nan(store: Store) -> None:
    moments = [pd.Timestamp("2024-02-29 18:30")] * 40 + [None] * 10
    frame = pd.DataFrame({"when": moments, "y": ["a", "b"] * 25})
    _, made = fit(store, *parted(frame, 2), target="y", id=None)
    first = made.iloc[0][[f"when__{part}" for part in features.DATE_PARTS]].tolist()
    assert first == [pytest.approx(19782.770833, abs=1e-3), 2024, 2, 29, 3, 18]
    assert made["when__year"].isna().tolist() == [False] * 40 + [True] * 10
    assert made["when__missing"].tolist() == [0.0] * 40 + [1.0] * 10


def test_dates_without_time_have_no_hour_feature(store: Store) -> None:
    frame = pd.DataFrame({"when": pd.date_range("2024-01-01", periods=50), "y": ["a", "b"] * 25})
    spec, _ = fit(store, frame, target="y", id=None)
    assert "when__hour" not in features.names(spec)


def test_missing_indicator_exists_only_for_columns_with_gaps(store: Store) -> None:
    spec, made = fit(store, people())
    assert "income__missing" in features.names(spec)
    assert "age__missing" not in features.names(spec)
    assert made["income"].isna().equals(made["income__missing"] == 1)


def test_column_named_like_a_missing_indicator_keeps_its_values(store: Store) -> None:
    frame = pd.DataFrame({"age": range(300), "age__missing": range(1000, 1300), "y": ["a", "b", "b"] * 100})
    frame["age"] = frame["age"].mask(frame.index % 9 == 0)
    run = pipeline(store, target="y", id=None)
    made = run.fit(run.clean(load(store, frame)))
    table = rows(store, made)
    assert table["age__missing"].tolist() == frame["age__missing"].tolist()
    assert table["age__missing_2"].tolist() == frame["age"].isna().tolist()
    assert run.train(made)["steps"]


def test_target_id_and_free_text_are_not_features(store: Store) -> None:
    frame = people().assign(note=[f"a note on person {number}" for number in range(400)])
    spec, _ = fit(store, frame)
    assert {"person", "bought", "note"}.isdisjoint(features.input_columns(spec))
    assert spec["statistics"]["note"]["counts"] == []


def test_timestamp_holdout_takes_latest_rows(store: Store) -> None:
    frame = people().sample(frac=1, random_state=1).reset_index(drop=True)
    spec, made = fit(store, *parted(frame, 3), timestamp="opened", evaluate={"holdout": 0.25})
    late = frame["opened"] >= pd.Timestamp(spec["split"]["cutoff"])
    assert late.sum() == 100
    assert made[HOLDOUT].tolist() == late.tolist()
    assert {"opened__days", "opened__year"}.isdisjoint(features.names(spec))


def test_rows_without_timestamp_are_trained_on_and_keep_cutoff(store: Store) -> None:
    frame = people()
    gaps = pd.concat([frame, people(100, seed=5).assign(opened=None, person=[f"q{n}" for n in range(100)])])
    declared = {"opened": {"type": "datetime", "nullable": True}}
    changes: dict[str, Any] = {"timestamp": "opened", "schema": declared}
    before, _ = fit(store, frame, **changes)
    after, made = fit(store, gaps.reset_index(drop=True), **changes)
    assert after["split"] == before["split"]
    assert not made[HOLDOUT][400:].any()


def test_rows_with_equal_timestamps_cannot_be_split_by_time(store: Store) -> None:
    said = refused(store, people().assign(opened=pd.Timestamp("2024-01-01")), timestamp="opened")
    assert "opened is 2024-01-01 00:00:00" in said
    assert "evaluate.split: {kind: id}" in said


def test_class_only_in_time_holdout_is_rejected(store: Store) -> None:
    frame = people()
    frame.loc[390:, "bought"] = "later"
    said = refused(store, *parted(frame, 3), timestamp="opened")
    assert "'later' only from 2024-06-09" in said
    assert "(10 rows)" in said


def test_class_only_in_random_holdout_logs_warning(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    frame = people()
    frame.loc[np.flatnonzero(held(frame))[:3], "bought"] = "rare"
    spec, made = fit(store, *parted(frame, 3))
    assert "class 'rare' is in the holdout only (3 rows)" in caplog.text
    assert [record.levelname for record in caplog.records if "rare" in record.message] == ["WARNING"]
    assert spec["classes"] == ["no", "yes"]
    assert (made[TARGET] == -1).sum() == 3


def test_numeric_classes_are_sorted_numerically(store: Store) -> None:
    frame = pd.DataFrame({"x": range(300), "y": [str(number % 12) for number in range(300)]})
    spec, made = fit(store, frame, target="y", id=None)
    assert spec["classes"] == [str(number) for number in range(12)]
    assert made[TARGET].tolist() == [number % 12 for number in range(300)]


def test_single_class_target_is_rejected(store: Store) -> None:
    said = refused(store, people().assign(bought="yes"))
    assert "target 'bought' has one class only in the training rows: 'yes'" in said
    assert "Give rows of at least two classes" in said
    assert "regression" not in said


def test_empty_or_complete_holdout_is_rejected(store: Store) -> None:
    assert "none of 3 rows is held out" in refused(store, people(3), evaluate={"holdout": 0.01})
    assert "every row is held out" in refused(store, people(3), evaluate={"holdout": 0.99})


def test_table_without_feature_columns_is_rejected(store: Store) -> None:
    frame = people()[["person", "bought"]]
    assert "no column gives a feature" in refused(store, frame)


def test_regression_target_keeps_values_without_classes(store: Store) -> None:
    frame = people()
    spec, made = fit(store, frame, task="regression", target="spent")
    assert spec["classes"] is None
    assert made[TARGET].tolist() == frame["spent"].tolist()


@pytest.mark.parametrize("kind", ["category", "boolean", "datetime", "text"])
def test_non_numeric_regression_target_is_rejected_by_settings(kind: str) -> None:
    with pytest.raises(ValueError, match=r"schema\.spent must be of type integer or number"):
        settings(task="regression", target="spent", schema={"spent": {"type": kind}})


def test_scoring_features_equal_training_features(bought: Made) -> None:
    store = bought.pipeline.store
    trained = rows(store, bought.featured)
    scored = rows(store, bought.to_score(*parted(people().drop(columns=["bought", "spent"]), 2)))
    pd.testing.assert_frame_equal(scored, trained.drop(columns=[TARGET, HOLDOUT]))


def test_only_changed_partition_is_transformed_again(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    run, frames = pipeline(store), parted(people(), 4)
    spec = feature_engineering.read_spec(store, run.fit(run.clean(load(store, *frames))))
    frames[2].loc[0, "age"] = 33
    clean = run.clean(load(store, *frames))
    sizes: list[int] = []
    build = feature_columns.build

    def noted(table: Any, by: Any) -> Any:
        sizes.append(len(table))
        return build(table, by)

    monkeypatch.setattr(feature_columns, "build", noted)
    feature_engineering.apply(store, clean, spec)
    assert sizes == [100]


def test_decimal_classification_target_suggests_regression(store: Store) -> None:
    with pytest.raises(StageError, match=r"target 'spent' has \d+ classes .* Set task: regression"):
        Pipeline(store, settings(target="spent")).publish(people(120).drop(columns="bought"))


def test_text_regression_target_suggests_classification(store: Store) -> None:
    words = people(60).drop(columns="spent")
    with pytest.raises(StageError, match="set task: classification"):
        Pipeline(store, settings(task="regression")).publish(words)
