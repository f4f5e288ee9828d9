"""A third model family in one file: scikit-learn's `SGDClassifier.partial_fit`; one step is one mini-batch."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from sklearn.linear_model import SGDClassifier

from ai_workflow.config import settings
from ai_workflow.errors import StageError
from ai_workflow.training.batches import Batches, Position
from ai_workflow.training.feature_inputs import FeatureEncoder, fit_encoder
from ai_workflow.training.protocol import Predict, TrainingData


class Trainer:
    """A linear classifier; the model file is JSON, never a pickle."""

    library = "scikit-learn"
    model_file = "model.json"

    def start(self, data: TrainingData, options: settings.Trainer, batch_size: int = 128) -> None:
        """Initialize the training from data and parameters.

        Raises:
            StageError: the task is a regression, or scikit-learn rejects a parameter.
        """
        if data.spec["task"] != "classification":
            raise StageError("trainer.kind sgd is for classification", "Choose another trainer.kind")
        self._data, self._seed, self.batch_size = data, options.seed, batch_size
        self._classes = np.arange(len(data.spec["classes"] or ()))
        self._inputs, _, _ = fit_encoder(data)
        self._batches = Batches(data.training, options.seed)
        self._step, self._loss = 0, 0.0
        try:
            self._model = SGDClassifier(loss="log_loss", **options.params)
        except TypeError as error:
            raise StageError(f"trainer.params: {error}", "Name parameters of SGDClassifier") from None

    def step(self) -> bool:
        """Learn one mini-batch."""
        x, y, after = self._batches.next_batch(self.batch_size)
        # All randomness comes from the seed and the step, so no generator state has to be saved.
        self._model.random_state = int(np.random.default_rng([self._seed, self._step]).integers(2**31))
        self._model.partial_fit(self._encoded(x), y, classes=self._classes)
        self._step, self._batches.position = self._step + 1, after
        self._loss = self._log_loss(x, y).mean()
        return True

    def loss(self) -> float:
        """Return the log loss of the validation rows, or of the last mini-batch without them."""
        parts = [self._log_loss(*rows.read()) for rows in self._data.validation if len(rows)]
        return float(np.concatenate(parts).mean()) if parts else float(self._loss)

    def save(self) -> bytes:
        """Return the state that the next step depends on; JSON keeps every bit of a float."""
        state = {"step": self._step, "position": self._batches.position, "loss": float(self._loss)}
        learned = {"coef": self._model.coef_.tolist(), "intercept": self._model.intercept_.tolist()}
        return json.dumps(state | learned | {"t": self._model.t_}).encode()

    def load(self, state: bytes) -> None:
        """Restore the state that `save` returned."""
        saved = json.loads(state)
        self._step, self._loss = saved["step"], saved["loss"]
        self._batches.position = Position(*saved["position"])
        self._model.classes_, self._model.n_features_in_ = self._classes, self._inputs.width
        self._model.coef_, self._model.intercept_ = np.array(saved["coef"]), np.array(saved["intercept"])
        self._model.t_ = saved["t"]

    def finish(self, step: int) -> bytes:
        """Return the model as JSON."""
        if step != self._step:
            raise StageError("trainer.kind sgd keeps no earlier step", "Set trainer.early_stopping to 0")
        model = {
            "coef": self._model.coef_.tolist(),
            "intercept": self._model.intercept_.tolist(),
            "numeric": self._inputs.numeric,
            "mean": self._inputs.mean.tolist(),
            "scale": self._inputs.scale.tolist(),
            "categories": self._inputs.categories,
        }
        return json.dumps(model).encode()

    def _encoded(self, x: np.ndarray) -> np.ndarray:
        # The weights have the type of the rows, and JSON restores float64.
        return self._inputs.encode(x).astype(np.float64)

    def _log_loss(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        shares = _probabilities(self._encoded(x), self._model.coef_, self._model.intercept_)
        return -np.log(np.clip(shares[np.arange(len(y)), y.astype(int)], 1e-12, 1))


def load(model: bytes) -> Predict:
    """Return the prediction function of a model file."""
    saved: dict[str, Any] = json.loads(model)
    inputs = FeatureEncoder(saved["numeric"], np.array(saved["mean"]), np.array(saved["scale"]), saved["categories"])
    coef, intercept = np.array(saved["coef"]), np.array(saved["intercept"])
    return lambda x: _probabilities(inputs.encode(x), coef, intercept)


def _probabilities(x: np.ndarray, coef: np.ndarray, intercept: np.ndarray) -> np.ndarray:
    """Return (n, classes): each class against all others, scaled to a sum of 1, as scikit-learn does it."""
    each = 1 / (1 + np.exp(-np.clip(x @ coef.T + intercept, -500, 500)))
    shares = np.column_stack([1 - each, each]) if len(coef) == 1 else each
    return shares / shares.sum(axis=1, keepdims=True)
