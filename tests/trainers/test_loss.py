"""Losses of a regression: both families minimize them, and resume to the same bytes; others are refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from ai_workflow.config import settings
from ai_workflow.config.settings import Settings
from ai_workflow.errors import StageError
from ai_workflow.training import protocol
from ai_workflow.training.families import lightgbm_params
from ai_workflow.training.protocol import TrainingData
from tests.trainers import training_rows
from tests.trainers.training_rows import Held, spec

pytestmark = pytest.mark.integration
FAMILIES: dict[str, dict[str, Any]] = {
    "lightgbm": {"steps": 60, "params": {"num_threads": 1, "learning_rate": 0.3, "lambda_l2": 0.0}},
    "torch_mlp": {"steps": 300, "params": {"learning_rate": 0.02, "hidden": [8]}},
}
DRAW = np.random.default_rng(7)
GROUP = DRAW.integers(0, 2, 4000)
# Skewed, so that mean, median and quantiles differ.
TARGET = 1000 + (1 + GROUP) * 100 * DRAW.exponential(size=4000)
LOSSES: dict[str, Any] = {
    "squared": None, "absolute": "absolute", "huber": {"kind": "huber", "delta": 30.0},
    "quantile": {"kind": "quantile", "quantile": 0.9},
}  # fmt: skip


def huber_location(values: np.ndarray, delta: float) -> float:
    """Return the number with the lowest Huber loss, by iteratively reweighted means."""
    found = float(np.median(values))
    for _ in range(200):
        weights = np.minimum(1, delta / np.maximum(np.abs(values - found), 1e-9))
        found = float((weights * values).sum() / weights.sum())
    return found


BEST = {
    "squared": np.mean, "absolute": np.median, "huber": lambda values: huber_location(values, 30.0),
    "quantile": lambda values: np.quantile(values, 0.9),
}  # fmt: skip


def started(family: str, loss: Any, validation: bool = False) -> protocol.Trainer:
    if family == "torch_mlp":
        pytest.importorskip("torch", reason="PyTorch is missing. Install it: .venv/bin/pip install -e '.[torch]'")
    options = settings.Trainer.model_validate({"kind": family, **FAMILIES[family], "loss": loss})
    x = np.column_stack([GROUP, np.zeros_like(GROUP)]).astype("float32")
    shape = {**spec("regression", 2), "features": spec("regression", 3)["features"][:2]}
    parts = [Held(x[:2000], TARGET[:2000]), Held(x[2000:], TARGET[2000:])]
    made = protocol.trainer(family)
    made.start(TrainingData(shape, parts[:1] if validation else parts, parts[1:] if validation else []), options, 512)
    return made


def stepped(made: protocol.Trainer, steps: int) -> None:
    for _ in range(steps):
        made.step()


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("kind", LOSSES)
def test_prediction_has_the_lowest_loss(family: str, kind: str) -> None:
    made = started(family, LOSSES[kind])
    stepped(made, FAMILIES[family]["steps"])
    model = made.finish(FAMILIES[family]["steps"])
    predictions = np.ravel(protocol.load(family, model)(np.array([[0, 0], [1, 0]], dtype="float32")))
    for group in (0, 1):
        values = TARGET[group == GROUP]
        # A few percent of the spread: both families stop before the optimum.
        assert predictions[group] == pytest.approx(BEST[kind](values), abs=0.12 * values.std())


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("kind", LOSSES)
def test_loss_is_the_mean_of_the_validation_rows_in_units_of_the_target(family: str, kind: str) -> None:
    made = started(family, LOSSES[kind], validation=True)
    stepped(made, 1)
    predictions = np.ravel(protocol.load(family, made.finish(1))(made._data.validation[0].read()[0]))  # type: ignore[attr-defined]
    error = TARGET[2000:] - predictions
    expected = {
        "squared": error**2,
        "absolute": np.abs(error),
        "huber": np.where(np.abs(error) <= 30, error**2 / 2, 30 * (np.abs(error) - 15)),
        "quantile": np.maximum(0.9 * error, -0.1 * error),
    }[kind].mean()
    assert made.loss() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("kind", ["absolute", "huber", "quantile"])
def test_resumed_training_gives_identical_model(family: str, kind: str) -> None:
    whole = started(family, LOSSES[kind])
    stepped(whole, 12)
    resumed = started(family, LOSSES[kind])
    for _ in range(12):
        resumed.step()
        state = resumed.save()
        resumed = started(family, LOSSES[kind])
        resumed.load(state)
    assert resumed.finish(12) == whole.finish(12)


@pytest.mark.parametrize(
    ("loss", "problem"),
    [
        ("quantile", "kind quantile needs quantile"),
        ("huber", "kind huber needs delta"),
        ({"kind": "quantile", "quantile": 1}, "less than or equal to 0.999999"),
        ({"kind": "quantile", "quantile": 1e-300}, "greater than or equal to 0.000001"),
        ({"kind": "huber", "delta": 0}, "greater than 0"),
        ({"kind": "absolute", "delta": 1}, "delta has no effect with kind absolute"),
        ({"kind": "squared", "quantile": 0.5}, "quantile has no effect with kind squared"),
        ("poisson", "'squared', 'absolute', 'huber' or 'quantile'"),
    ],
)
def test_invalid_loss_is_refused(loss: Any, problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        settings.Trainer.model_validate({"loss": loss})


def test_loss_of_classification_is_refused() -> None:
    given = {"pipeline": "p", "task": "classification", "source": {"kind": "sample"}, "target": "y"}
    with pytest.raises(ValidationError, match="loss is for regression only"):
        Settings.model_validate({**given, "trainer": {"loss": "absolute"}})


def test_trainer_that_does_not_name_the_loss_is_refused() -> None:
    options = settings.Trainer.model_validate({"kind": "lightgbm", "loss": "absolute"})
    with pytest.raises(StageError, match=r"does not minimize trainer\.loss absolute") as refused:
        protocol.check_options(object(), training_rows.data("regression"), options)  # type: ignore[arg-type]
    assert "attribute losses" in str(refused.value.remedy)


@pytest.mark.parametrize("quantile", [1e-6, 1 - 1e-6])
@pytest.mark.parametrize("family", FAMILIES)
def test_extreme_quantile_is_accepted(family: str, quantile: float) -> None:
    stepped(started(family, {"kind": "quantile", "quantile": quantile}), 1)


@pytest.mark.parametrize("loss", [LOSSES["huber"], LOSSES["quantile"]])
def test_parameter_of_lightgbm_does_not_replace_that_of_the_loss(loss: Any) -> None:
    # With a metric, alpha has an effect in other trainings.
    params = {"metric": "quantile", "alpha": 0.5}
    shape: Any = spec("regression", 2)
    options = settings.Trainer.model_validate({"loss": loss, "params": params})
    with pytest.raises(StageError, match=r"trainer\.params\.alpha is set by trainer\.loss"):
        lightgbm_params.build(options, shape, 100)
    without = settings.Trainer.model_validate({"params": params})
    assert lightgbm_params.build(without, shape, 100)[0]["alpha"] == 0.5


def test_delta_that_is_zero_in_float32_is_refused() -> None:
    with pytest.raises(StageError, match=r"trainer\.loss\.delta 1e-320 is 0 in float32"):
        started("torch_mlp", {"kind": "huber", "delta": 1e-320})
