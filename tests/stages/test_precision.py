"""What precision promises: values that float32 would merge stay distinct, in batch, over HTTP and in predictions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from ai_workflow.datasets.partitions import Dataset
from ai_workflow.features import transform
from ai_workflow.features.row_encoder import Encoder
from ai_workflow.stages import feature_engineering, inference
from ai_workflow.storage.store import Store
from ai_workflow.training import protocol
from tests.stages.tables import Made, Pipeline, load, parted, rows, settings

pytestmark = pytest.mark.integration

ROWS = 600
STEPS = np.arange(ROWS)


def _pipeline(store: Store, **changes: Any) -> Pipeline:
    return Pipeline(store, settings(**{"target": "y", "id": None, **changes}), alone=True)


def _features(store: Store, frame: pd.DataFrame, **changes: Any) -> tuple[dict[str, Any], pd.DataFrame]:
    run = _pipeline(store, **changes)
    made = run.fit(run.clean(load(store, *parted(frame, 3))))
    return feature_engineering.read_spec(store, made), rows(store, made)


def _classes() -> list[str]:
    return ["a", "b"] * (ROWS // 2)


COLUMNS = {
    "offset": 10**12 + STEPS,
    "epoch": 1_700_000_000 + 7 * STEPS,
    "below zero": -(10**12) - STEPS,
    "cents": 123_456_789.01 + STEPS / 100,
    "huge": 1e200 * (1 + STEPS / ROWS),
    "tiny": 1e-46 * (1 + STEPS),
    "seconds": pd.Timestamp("2026-01-01 12:00") + pd.to_timedelta(STEPS, unit="s"),
}


@pytest.mark.parametrize("name", list(COLUMNS))
def test_values_that_float32_merges_stay_distinct(store: Store, name: str, caplog: pytest.LogCaptureFixture) -> None:
    frame = pd.DataFrame({"x": COLUMNS[name], "y": _classes()}).sample(frac=1, random_state=1, ignore_index=True)
    spec, made = _features(store, frame)
    column = made[spec["features"][0]["name"]].to_numpy("float32")
    assert spec["features"][0]["center"] is not None
    np.testing.assert_array_equal(column.argsort(), frame["x"].to_numpy().argsort())
    assert len(np.unique(column)) == ROWS
    assert "distinct" not in caplog.text


@pytest.mark.parametrize("values", [STEPS, STEPS / 7, np.random.default_rng(0).random(ROWS), STEPS * 1e30])
def test_ordinary_columns_have_no_center(store: Store, values: np.ndarray) -> None:
    spec, made = _features(store, pd.DataFrame({"x": values, "y": _classes()}))
    assert spec["features"] == [{"name": "x", "column": "x", "kind": "number"}]
    np.testing.assert_array_equal(made["x"].to_numpy("float32"), values.astype("float32"))


def test_values_of_different_partitions_stay_distinct(store: Store) -> None:
    frame = pd.DataFrame({"x": 10**12 + np.repeat([0, 1, 2], ROWS // 3), "y": _classes()})
    _, made = _features(store, frame)
    assert made["x"].nunique() == 3


def test_values_that_no_center_separates_are_a_warning(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    values = np.where(STEPS % 3 == 0, 0, np.where(STEPS % 3 == 1, 10**12, -(10**12))) + STEPS
    _features(store, pd.DataFrame({"clusters": values, "y": _classes()}))
    warnings = [record.message for record in caplog.records if record.levelname == "WARNING"]
    assert any("'clusters'" in text and "float32" in text for text in warnings)


def test_service_and_batch_give_equal_bytes(store: Store) -> None:
    frame = pd.DataFrame({**COLUMNS, "seconds": COLUMNS["seconds"].astype("datetime64[us]"), "y": _classes()})
    spec, made = _features(store, frame)
    assert sum("center" in feature for feature in spec["features"]) == len(COLUMNS)
    sent = frame.drop(columns="y").assign(seconds=frame["seconds"].map(pd.Timestamp.isoformat)).to_dict("records")
    encoder, expected = Encoder(spec, "of"), made[transform.names(spec)].to_numpy("float32").tobytes()
    assert encoder.encode_checked(sent) == expected
    assert encoder.encode_fast(sent) == expected


def _published(store: Store, **changes: Any) -> tuple[Made, pd.DataFrame]:
    frame = pd.DataFrame({"x": STEPS, "y": 10**12 + STEPS})
    trained: dict[str, Any] = {"steps": 200, "early_stopping": 0, **changes}
    made = _pipeline(store, task="regression", trainer=trained, evaluate={"metric": "mae"}).publish(frame)
    return made, frame


@pytest.mark.slow
def test_predictions_of_a_target_far_from_zero_have_its_unit(store: Store) -> None:
    made, frame = _published(store)
    assert made.spec["target_center"] == pytest.approx(10**12 + ROWS / 2, abs=ROWS / 2)
    assert made.evaluated["mae"] < 10
    scored = rows(store, inference.predict(store, made.to_score(frame[["x"]]), made.scoring()))
    assert (scored["prediction"] - frame["y"]).abs().mean() < 10
    assert np.median([*scored["score"]]) == pytest.approx(10**12 + 300, abs=30)
    assert Dataset.load(store, made.featured).rows == ROWS


@pytest.mark.parametrize("params", [{"boosting": "rf", "bagging_freq": 1, "bagging_fraction": 0.5}, {"metric": "l1"}])
def test_lightgbm_adds_the_center_once(store: Store, params: dict[str, Any]) -> None:
    made, _ = _published(store, params=params)
    x = np.arange(ROWS, dtype="float32")[:, None]
    predictions = protocol.load("lightgbm", made.file("model.txt"))(x)
    assert abs(predictions - 10**12).max() < 2 * ROWS


def test_parameter_that_depends_on_the_level_is_a_warning(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    run = _pipeline(store, task="regression", trainer={"steps": 3, "params": {"reg_sqrt": True}})
    run.train(run.fit(run.clean(load(store, pd.DataFrame({"x": STEPS, "y": 10**12 + STEPS})))))
    assert "trainer.params.reg_sqrt does not allow a centre" in caplog.text


@pytest.mark.slow
def test_network_learns_a_target_far_from_zero(store: Store) -> None:
    pytest.importorskip("torch", reason="PyTorch is missing. Install it: .venv/bin/pip install -e '.[torch]'")
    made, _ = _published(store, kind="torch_mlp", steps=600)
    assert made.evaluated["mae"] < 60
