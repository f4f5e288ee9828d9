"""A model in its worker process with what its feature spec adds: feature functions, and calibrated probabilities."""

from __future__ import annotations

import json
import mmap
from array import array
from collections.abc import Callable

from ai_workflow.features import calibration
from ai_workflow.features.calibration import Calibrator
from ai_workflow.features.spec import FeatureSpec
from ai_workflow.inference.worker import LoadedFunctions, Predict

_LoadModel = Callable[[str, int, int], LoadedFunctions]


def load(kind: str, model: int, features: int, spec: int, load_model: _LoadModel) -> LoadedFunctions:
    """Return the functions of a model for rows of `worker_rows.to_worker`.

    Args:
        kind: the model family.
        model: an open file with the model.
        features: number of values in each row.
        spec: an open file with the feature spec; a zero byte follows it.
        load_model: returns the functions of a model for its features.

    Raises:
        BrokenVersionError: a feature function is missing, or has other code than in the training.
    """
    body: FeatureSpec = json.loads(mmap.mmap(spec, 0, access=mmap.ACCESS_READ)[:-1])
    if body.get("derived"):
        # With pandas and the code of a team, which other versions need not load.
        from ai_workflow.inference import derived_model

        loaded = derived_model.load(kind, model, body, load_model)
    else:
        loaded = load_model(kind, model, features)
    calibrator = calibration.of(body)
    # Contributions add up to the raw score of the model, which is not calibrated.
    return loaded._replace(predict=_calibrated(loaded.predict, calibrator)) if calibrator else loaded


def _calibrated(predict: Predict, calibrator: Calibrator) -> Predict:
    def calibrated(rows: memoryview, count: int) -> memoryview:
        outputs = array("d")
        outputs.frombytes(predict(rows, count))
        return memoryview(calibrator.calibrate(outputs)).cast("B")

    return calibrated
