"""Multilayer perceptron by PyTorch: one step is one mini-batch of `trainer.batch_size` rows."""

from __future__ import annotations

import difflib
import hashlib
import math
from statistics import fmean
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import ValidationError

from ai_workflow.config import settings
from ai_workflow.config.settings.mlp_params import Params
from ai_workflow.errors import StageError
from ai_workflow.runtime import memory_pressure
from ai_workflow.telemetry.logs import logger
from ai_workflow.training import feature_inputs
from ai_workflow.training.batches import Batches, PartitionReader, Position, WeightedRows
from ai_workflow.training.families import mlp_model

if TYPE_CHECKING:
    from ai_workflow.training.families import torch_network
    from ai_workflow.training.protocol import TrainingData

load = mlp_model.load
# The training loss is the mean over this number of steps.
_LOSS_STEPS = 50
# Validation rows per call, in batches.
_VALIDATION_BATCHES = 8
# Number of evaluations of the validation rows before early stopping can stop.
_EVALUATIONS_BEFORE_STOP = 5
log = logger("trainer")


class Trainer:
    """Trainer with one partition in memory at a time; the same data and options give the same bytes.

    Raises:
        StageError: PyTorch is not installed.
    """

    library = "torch"
    model_file = "model.safetensors"
    uses_weights = True
    losses = frozenset({"squared", "absolute", "huber", "quantile"})
    memory_remedy = f"{memory_pressure.MORE_MEMORY}, or train a smaller network: trainer.params.hidden"

    def __init__(self) -> None:
        try:
            from ai_workflow.training.families import torch_network
        except (ImportError, OSError) as error:
            if shortage := memory_pressure.shortage(error):
                raise shortage from error
            broken = "" if isinstance(error, ModuleNotFoundError) else f", and the one here does not load: {error}"
            raise StageError(
                f"trainer.kind torch_mlp needs PyTorch{broken}", "Install it: .venv/bin/pip install -e '.[torch]'"
            ) from error
        self._torch = torch_network

    def start(self, data: TrainingData, options: settings.Trainer, batch_size: int = 128) -> None:
        """Read the training rows once to fit the encoder, and initialize the weights.

        Raises:
            StageError: a parameter is unknown or invalid.
        """
        self._data, self._options, self._params = data, options, _params(options)
        self.batch_size = batch_size
        self._evaluate_every = self._params.evaluate_every or max(1, options.early_stopping // _EVALUATIONS_BEFORE_STOP)
        self._regression = data.spec["task"] == "regression"
        self._encoder, self._target_mean, self._target_scale = feature_inputs.fit_encoder(data)
        outputs = 1 if self._regression else len(data.spec["classes"] or ())
        self._sizes = [self._encoder.width, *self._params.hidden, outputs]
        p = self._params
        self._network = self._torch.Network(
            self._sizes, loss=self._regression_loss(), dropout=p.dropout, decay=p.weight_decay, device=p.device,
            threads=p.threads, seed=_seed(options.seed, 0),
        )  # fmt: skip
        training, validation = (
            [WeightedRows(rows) for rows in parts] if data.is_weighted else parts
            for parts in (data.training, data.validation)
        )
        self._batches = Batches(training, options.seed)
        self._validation = PartitionReader(validation)
        self._recent_losses: list[float] = []
        self._step = 0
        # Step and loss of the last evaluation of the validation rows.
        self._evaluated = (0, math.inf)
        self._best: dict[str, Any] = {"step": 0, "loss": math.inf, "weights": {}}
        log.info("a network of %s, %d rows per step", "-".join(map(str, self._sizes)), batch_size)

    def step(self) -> bool:
        """Train on one mini-batch, and return True: there is always a next batch.

        Raises:
            MemoryError: the batch does not fit into memory; the step was not made.
        """
        x, y, position = self._batches.next_batch(self.batch_size)
        inputs, target, weights = self._encode(x, y)
        seed = _seed(self._options.seed, self._step + 1)
        loss = self._network.train_batch(inputs, target, self._learning_rate(), seed, weights)
        self._step += 1
        self._batches.position = position
        self._recent_losses = [*self._recent_losses, loss * self._loss_unit][-_LOSS_STEPS:]
        return True

    def loss(self) -> float:
        """Return the mean loss of the validation rows, else of the last training steps.

        The validation rows are evaluated every `evaluate_every` steps, because an evaluation takes longer than a step;
        in between, the loss is that of the last evaluation. The weights of the best step are kept.
        """
        if not self._validation.parts:
            return fmean(self._recent_losses)
        due = self._step % self._evaluate_every == 0 or self._step == self._options.steps or not self._evaluated[0]
        if due and self._evaluated[0] != self._step:
            self._evaluated = self._step, self._validation_loss()
            if self._evaluated[1] < self._best["loss"]:
                self._best = {"step": self._step, "loss": self._evaluated[1], "weights": self._network.weights()}
        return self._evaluated[1]

    def save(self) -> bytes:
        """Return weights, optimizer, position in the data, losses and the best weights.

        Randomness and learning rate of a step are functions of seed and step, and are not saved.
        """
        state = {
            "step": self._step,
            "position": list(self._batches.position),
            "recent": self._recent_losses,
            "seen": list(self._evaluated),
            "best": self._best,
            "network": self._network.state(),
        }
        return self._torch.dumps(state)

    def load(self, state: bytes) -> None:
        """Restore a state that `save` returned."""
        saved = self._torch.loads(state)
        self._step, self._recent_losses = saved["step"], saved["recent"]
        self._evaluated, self._best = (saved["seen"][0], saved["seen"][1]), saved["best"]
        self._batches.position = Position(*saved["position"])
        self._network.restore(saved["network"], self._step)

    def finish(self, step: int) -> bytes:
        """Return the model after `step` steps, which must be the last or the best step, as safetensors."""
        if not step or step not in (self._step, self._best["step"]):
            raise LookupError(f"the weights after step {step} are not kept: the best step was {self._best['step']}")
        weights = self._best["weights"] if step == self._best["step"] else self._network.weights()
        metadata = {
            "task": self._data.spec["task"],
            "layers": len(self._sizes) - 1,
            "numeric": self._encoder.numeric,
            "categories": self._encoder.categories,
            "target_mean": self._target_mean,
            "target_scale": self._target_scale,
            "batch_size": self.batch_size,
        }
        scaling = {"mean": self._encoder.mean, "scale": self._encoder.scale}
        return mlp_model.serialize(self._torch.arrays(weights) | scaling, metadata)

    def _encode(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """Return inputs, scaled targets and weights; `y` is (n, 2) with the weights, or (n,)."""
        target, weights = (y[:, 0], y[:, 1]) if self._data.is_weighted else (y, None)
        return self._encoder.encode(x), (target - self._target_mean) / self._target_scale, weights

    def _regression_loss(self) -> torch_network.Loss | None:
        """Return the loss of a regression of the scaled target; None for a classification."""
        if not self._regression:
            return None
        loss = self._options.loss
        if loss is None:
            return self._torch.Loss("squared")
        delta = None if loss.delta is None else loss.delta / self._target_scale
        if delta is not None and delta < np.finfo(np.float32).tiny:
            raise StageError(
                f"trainer.loss.delta {loss.delta!r} is 0 in float32 for a target with standard deviation "
                f"{self._target_scale:.6g}",
                "Set it in units of the target, or use absolute",
            )
        return self._torch.Loss(loss.kind, loss.quantile if delta is None else delta)

    @property
    def _loss_unit(self) -> float:
        """The factor from the loss of scaled targets to that of the targets; the squared error is quadratic."""
        is_linear = self._options.loss is not None and self._options.loss.kind in ("absolute", "quantile")
        return self._target_scale if is_linear else self._target_scale**2

    def _learning_rate(self) -> float:
        if self._params.schedule == "none":
            return self._params.learning_rate
        return self._params.learning_rate * 0.5 * (1 + math.cos(math.pi * self._step / self._options.steps))

    def _validation_loss(self) -> float:
        total, count = 0.0, 0
        for number in range(len(self._validation.parts)):
            (x, y), rows = self._validation.read(number), _VALIDATION_BATCHES * self.batch_size
            for at in range(0, len(y), rows):
                total += self._network.loss(*self._encode(x[at : at + rows], y[at : at + rows]))
            count += len(y)
            del x, y
        return total / count * self._loss_unit


def _params(options: settings.Trainer) -> Params:
    try:
        params = Params.model_validate(options.params)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"]))
        if first["type"] == "extra_forbidden":
            close = difflib.get_close_matches(name, Params.model_fields, 1)
            hint = f"Did you mean {close[0]!r}?" if close else f"There are {', '.join(Params.model_fields)}"
            raise StageError(f"trainer.params.{name} is not a parameter of torch_mlp", hint) from None
        raise StageError(f"trainer.params.{name}: {first['msg']}", "Fix trainer.params") from None
    _reject_without_effect(params, options)
    if options.early_stopping and (params.evaluate_every or 1) > options.early_stopping:
        raise StageError(
            f"trainer.params.evaluate_every is {params.evaluate_every}, and trainer.early_stopping would stop "
            f"after {options.early_stopping} steps without an evaluation",
            "Make it at most a fifth of trainer.early_stopping",
        )
    return params


def _reject_without_effect(params: Params, options: settings.Trainer) -> None:
    """Raise StageError for a parameter that has no effect."""
    if params.evaluate_every and not options.early_stopping:
        raise StageError(
            "trainer.params.evaluate_every has no effect without trainer.early_stopping",
            "Remove it, or set trainer.early_stopping",
        )
    if not params.hidden and params.dropout and "dropout" in params.model_fields_set:
        raise StageError(
            "trainer.params.dropout has no effect without a hidden layer", "Remove it, or set trainer.params.hidden"
        )


def _seed(seed: int, step: int) -> int:
    """Return the seed of one step; step 0 is the initialization of the weights."""
    return int.from_bytes(hashlib.blake2b(f"{seed} {step}".encode(), digest_size=7).digest())
