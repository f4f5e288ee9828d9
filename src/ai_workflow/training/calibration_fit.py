"""Fit of a probability calibration on rows that the model was not trained on."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from ai_workflow.errors import StageError
from ai_workflow.features.calibration import LIMIT
from ai_workflow.runtime import memory_pressure
from ai_workflow.telemetry.logs import logger

if TYPE_CHECKING:
    import numpy as np

    from ai_workflow.features.spec import Calibration, ClassCalibration
    from ai_workflow.training.protocol import Predict, Rows

_MAX_ITERATIONS = 100
# Largest gradient per row at which a sigmoid is final.
_TOLERANCE = 1e-10
# Newton's method stops if a step this small lowers the loss no more.
_MIN_STEP = 1e-10
_REMEDY = f"{memory_pressure.MORE_MEMORY}, or lower trainer.calibration.fraction"
log = logger("trainer")


def of_model(method: str, predict: Predict, parts: Sequence[Rows]) -> Calibration:
    """Return the calibration of a model, fitted on its predictions for rows that it has not seen.

    Raises:
        StageError: a prediction is not finite.
    """
    import numpy as np

    outputs: list[np.ndarray] = []
    labels: list[np.ndarray] = []
    batches = memory_pressure.BatchSplitter(None, memory_pressure.MIN_BATCH_ROWS, _REMEDY)
    for rows in filter(len, parts):
        x, y = rows.read()
        outputs += batches.each(len(x), partial(_predict, predict, x))
        labels.append(y)
    probabilities = np.concatenate(outputs)
    if not np.isfinite(probabilities).all():
        raise StageError(
            "the model's predictions for the rows of trainer.calibration are not finite",
            "Lower the learning rate in trainer.params, or scale the columns down",
        )
    log.info("probabilities calibrated on %d rows: %s", len(probabilities), method)
    return fit(method, np.concatenate(labels), probabilities)


def _predict(predict: Predict, x: np.ndarray, start: int, end: int) -> np.ndarray:
    return predict(x[start:end])


def fit(method: str, y: np.ndarray, probabilities: np.ndarray) -> Calibration:
    """Return the calibration of the second of two classes, or of each of more against the rest.

    The order of the rows has no effect.

    Args:
        method: sigmoid (Platt 1999), or isotonic (Zadrozny and Elkan 2002).
        y: (n,) class index.
        probabilities: (n, classes).
    """
    import numpy as np

    count = probabilities.shape[1]
    function = _sigmoid if method == "sigmoid" else _isotonic
    fitted = []
    for label in [1] if count == 2 else range(count):
        values, is_class = probabilities[:, label].astype("float64"), y == label
        order = np.lexsort((is_class, values))
        fitted.append(function(values[order], is_class[order]))
    return {"method": method, "classes": fitted}


def _sigmoid(probabilities: np.ndarray, is_class: np.ndarray) -> ClassCalibration:
    """Return slope and intercept on the log-odds, by Newton's method (Lin, Lin and Weng 2007)."""
    import numpy as np
    from scipy.special import expit

    limited = np.clip(probabilities, LIMIT, 1 - LIMIT)
    log_odds = np.log(limited / (1 - limited))
    inside, outside = int(is_class.sum()), int((~is_class).sum())
    # Platt's targets instead of 0 and 1, which a sigmoid reaches at infinity only.
    targets = np.where(is_class, (inside + 1) / (inside + 2), 1 / (outside + 2))

    def loss(line: np.ndarray) -> float:
        value = line[0] * log_odds + line[1]
        return float((np.logaddexp(0, value) - targets * value).sum())

    line = np.array([0.0, np.log((inside + 1) / (outside + 1))])
    for _ in range(_MAX_ITERATIONS):
        chance = expit(line[0] * log_odds + line[1])
        difference, weight = chance - targets, chance * (1 - chance)
        gradient = np.array([(difference * log_odds).sum(), difference.sum()])
        if np.abs(gradient).max() <= _TOLERANCE * len(targets):
            break
        mixed = (weight * log_odds).sum()
        hessian = np.array([[(weight * log_odds**2).sum(), mixed], [mixed, weight.sum()]]) + 1e-12 * np.eye(2)
        direction, step = -np.linalg.solve(hessian, gradient), 1.0
        while loss(line + step * direction) > loss(line) + 1e-4 * step * float(gradient @ direction):
            step /= 2
            if step < _MIN_STEP:
                return {"slope": float(line[0]), "intercept": float(line[1])}
        line = line + step * direction
    return {"slope": float(line[0]), "intercept": float(line[1])}


def _isotonic(probabilities: np.ndarray, is_class: np.ndarray) -> ClassCalibration:
    """Return points of the isotonic regression, by the pool-adjacent-violators algorithm."""
    from sklearn.isotonic import IsotonicRegression

    regression = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip")
    regression.fit(probabilities, is_class.astype("float64"))
    return {"x": regression.X_thresholds_.tolist(), "y": regression.y_thresholds_.tolist()}
