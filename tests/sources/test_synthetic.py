"""What the generator promises: any block at any time, a signal to learn, and drift to order."""

from __future__ import annotations

from typing import Any

import lightgbm
import numpy as np
import pandas as pd
import pytest

from ai_workflow.sources import synthetic
from ai_workflow.sources.synthetic import BLOCK, SyntheticOptions

pytestmark = pytest.mark.integration


def block(number: int, **recipe: Any) -> pd.DataFrame:
    frame: pd.DataFrame = synthetic.block(number, SyntheticOptions(**recipe)).to_pandas()
    return frame


def features(frame: pd.DataFrame) -> pd.DataFrame:
    inputs = frame.drop(columns=["id", "timestamp", "joined", "amount", "target"])
    coded = {name: inputs[name].astype("category").cat.codes for name in ("plan", "region", "autopay")}
    return inputs.assign(**coded)


@pytest.fixture(scope="module")
def classifier() -> lightgbm.Booster:
    frame = block(0)
    data = lightgbm.Dataset(features(frame), frame["target"] == "leaves")
    return lightgbm.train({"objective": "binary", "verbose": -1, "num_threads": 1}, data, 80)


def accuracy(model: lightgbm.Booster, frame: pd.DataFrame) -> float:
    return float(((np.asarray(model.predict(features(frame))) > 0.5) == (frame["target"] == "leaves")).mean())


def test_synthetic_block_depends_on_seed_and_number() -> None:
    later = block(7)
    pd.testing.assert_frame_equal(later, block(7))
    assert not later["age"].equals(block(7, seed=1)["age"])
    assert not later["age"].equals(block(8)["age"])


def test_synthetic_ids_are_unique_and_timestamps_increase() -> None:
    both = pd.concat([block(3), block(4)])
    assert list(both["id"]) == list(range(3 * BLOCK, 5 * BLOCK))
    assert both["timestamp"].is_monotonic_increasing
    assert both["timestamp"].is_unique
    assert (both["joined"] <= both["timestamp"]).all()


def test_synthetic_inputs_have_gaps_but_targets_do_not() -> None:
    missing = block(0).isna().mean()
    assert missing[["age", "income", "region"]].round(2).tolist() == [0.02, 0.05, 0.03]
    assert missing.drop(["age", "income", "region"]).sum() == 0


def test_invalid_rows_appear_only_with_bad_option() -> None:
    assert (block(0)["age"].dropna() >= 18).all()
    assert (block(0, bad=0.01)["age"] < 0).mean() == pytest.approx(0.01, abs=0.003)


def test_synthetic_target_is_learnable(classifier: lightgbm.Booster) -> None:
    assert accuracy(classifier, block(50)) == pytest.approx(0.93, abs=0.01)
    assert (block(50)["target"] == "leaves").mean() == pytest.approx(0.5, abs=0.05)


def test_synthetic_amount_is_learnable() -> None:
    train, test = block(0), block(1)
    data = lightgbm.Dataset(features(train), train["amount"])
    model = lightgbm.train({"objective": "regression", "verbose": -1, "num_threads": 1}, data, 80)
    error = np.mean((model.predict(features(test)) - test["amount"]) ** 2)
    assert 1 - error / test["amount"].var() > 0.85


def test_data_drift_shifts_inputs_and_keeps_accuracy(classifier: lightgbm.Booster) -> None:
    plain, moved = block(50), block(50, drift=1.0)
    for name in ("age", "calls", "usage"):
        assert (moved[name].mean() - plain[name].mean()) / plain[name].std() == pytest.approx(1, abs=0.05)
    logs = np.log(plain["income"]), np.log(moved["income"])
    assert (logs[1].mean() - logs[0].mean()) / logs[0].std() == pytest.approx(1, abs=0.05)
    assert accuracy(classifier, moved) > 0.9


def test_concept_drift_keeps_inputs_and_reduces_accuracy(classifier: lightgbm.Booster) -> None:
    half, whole = block(50, concept_drift=0.5), block(50, concept_drift=1.0)
    inputs = ["age", "income", "tenure", "calls", "usage", "plan", "region"]
    pd.testing.assert_frame_equal(half[inputs], block(50)[inputs])
    assert accuracy(classifier, half) == pytest.approx(0.87, abs=0.02)
    assert accuracy(classifier, whole) == pytest.approx(0.5, abs=0.02)
