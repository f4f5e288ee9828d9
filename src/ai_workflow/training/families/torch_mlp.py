"""A multilayer perceptron by PyTorch: one step is one mini-batch of `trainer.batch_size` rows."""

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
from ai_workflow.training.batches import Batches, Position, Reader
from ai_workflow.training.families import mlp_model

if TYPE_CHECKING:
    from ai_workflow.training.protocol import TrainingData

load = mlp_model.load
# The training loss is the mean of so many steps, and so many batches of validation rows are answered at once.
_RECENT, _BATCHES = 50, 8
# The validation rows are gone through so many times before early stopping gives up.
_LOOKS = 5
log = logger("trainer")


class Trainer:
    """Trains on partitions, one in memory at a time; the same data and options give the same bytes.

    Raises:
        StageError: PyTorch is not installed.
    """

    library = "torch"
    model_file = "model.safetensors"
    memory_remedy = f"{memory_pressure.MORE_MEMORY}, or train a smaller network: trainer.params.hidden"

    def __init__(self) -> None:
        try:
            from ai_workflow.training.families import torch_network
        except (ImportError, OSError) as error:
            if found := memory_pressure.shortage(error):
                raise found from error
            broken = "" if isinstance(error, ModuleNotFoundError) else f", and the one here does not load: {error}"
            raise StageError(
                f"trainer.kind torch_mlp needs PyTorch{broken}", "Install it: .venv/bin/pip install -e '.[torch]'"
            ) from error
        self._torch = torch_network

    def start(self, data: TrainingData, options: settings.Trainer, batch_size: int = 128) -> None:
        """Go through the training rows once for the mean and the deviation of each number, and draw the weights.

        Raises:
            StageError: a parameter is not known or not possible.
        """
        self._data, self._options, self._params = data, options, _params(options)
        self.batch_size = batch_size
        self._every = self._params.evaluate_every or max(1, options.early_stopping // _LOOKS)
        self._regression = data.spec["task"] == "regression"
        self._inputs, self._target_mean, self._target_scale = feature_inputs.fitted(data)
        outputs = 1 if self._regression else len(data.spec["classes"] or ())
        self._sizes = [self._inputs.width, *self._params.hidden, outputs]
        p = self._params
        self._network = self._torch.Network(
            self._sizes, regression=self._regression, dropout=p.dropout, decay=p.weight_decay, device=p.device,
            threads=p.threads, seed=_seed(options.seed, 0),
        )  # fmt: skip
        self._batches, self._watched = Batches(data.training, options.seed), Reader(data.validation)
        self._recent: list[float] = []
        self._step, self._seen = 0, (0, math.inf)
        self._best: dict[str, Any] = {"step": 0, "loss": math.inf, "weights": {}}
        log.info("a network of %s, %d rows per step", "-".join(map(str, self._sizes)), batch_size)

    def step(self) -> bool:
        """Learn one mini-batch; there is always one more.

        Raises:
            MemoryError: it does not fit. The step is not made, and can be with a smaller `batch_size`.
        """
        x, y, after = self._batches.following(self.batch_size)
        loss = self._network.learn(*self._encoded(x, y), self._rate(), _seed(self._options.seed, self._step + 1))
        self._step, self._batches.position = self._step + 1, after
        self._recent = [*self._recent, loss * self._target_scale**2][-_RECENT:]
        return True

    def loss(self) -> float:
        """Return the cross entropy or the mean squared error of the validation rows, else of the last training steps.

        To go through the validation rows after each step would take longer than to learn: in between, the loss stays
        what it was. The weights of the best step are kept.
        """
        if not self._watched.parts:
            return fmean(self._recent)
        due = self._step % self._every == 0 or self._step == self._options.steps or not self._seen[0]
        if due and self._seen[0] != self._step:
            self._seen = self._step, self._validated()
            if self._seen[1] < self._best["loss"]:
                self._best = {"step": self._step, "loss": self._seen[1], "weights": self._network.weights()}
        return self._seen[1]

    def save(self) -> bytes:
        """Return weights, optimiser, position in the data, losses and the best weights.

        What chance a step has follows from the seed and the step, and so does the learning rate.
        """
        state = {
            "step": self._step,
            "position": list(self._batches.position),
            "recent": self._recent,
            "seen": list(self._seen),
            "best": self._best,
            "network": self._network.state(),
        }
        return self._torch.dumps(state)

    def load(self, state: bytes) -> None:
        """Go on from what `save` returned."""
        found = self._torch.loads(state)
        self._step, self._recent = found["step"], found["recent"]
        self._seen, self._best = (found["seen"][0], found["seen"][1]), found["best"]
        self._batches.position = Position(*found["position"])
        self._network.restore(found["network"], self._step)

    def finish(self, step: int) -> bytes:
        """Return the model after `step` steps, which must be the last or the best one, as safetensors."""
        if not step or step not in (self._step, self._best["step"]):
            raise LookupError(f"the weights after step {step} are gone: the best step was {self._best['step']}")
        weights = self._best["weights"] if step == self._best["step"] else self._network.weights()
        about = {
            "task": self._data.spec["task"],
            "layers": len(self._sizes) - 1,
            "numeric": self._inputs.numeric,
            "categories": self._inputs.categories,
            "target_mean": self._target_mean,
            "target_scale": self._target_scale,
            "batch_size": self.batch_size,
        }
        scaling = {"mean": self._inputs.mean, "scale": self._inputs.scale}
        return mlp_model.packed(self._torch.arrays(weights) | scaling, about)

    def _encoded(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return self._inputs.encode(x), (y - self._target_mean) / self._target_scale

    def _rate(self) -> float:
        if self._params.schedule == "none":
            return self._params.learning_rate
        return self._params.learning_rate * 0.5 * (1 + math.cos(math.pi * self._step / self._options.steps))

    def _validated(self) -> float:
        total, count = 0.0, 0
        for number in range(len(self._watched.parts)):
            (x, y), rows = self._watched.read(number), _BATCHES * self.batch_size
            for at in range(0, len(y), rows):
                total += self._network.loss(*self._encoded(x[at : at + rows], y[at : at + rows]))
            count += len(y)
            del x, y
        return total / count * self._target_scale**2


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
    _refuse_without_effect(params, options)
    if options.early_stopping and (params.evaluate_every or 1) > options.early_stopping:
        raise StageError(
            f"trainer.params.evaluate_every is {params.evaluate_every}, and trainer.early_stopping would give up "
            f"after {options.early_stopping} steps without having looked",
            "Make it at most a fifth of trainer.early_stopping",
        )
    return params


def _refuse_without_effect(params: Params, options: settings.Trainer) -> None:
    """Raise StageError for a parameter that was given and changes nothing."""
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
    """Return the seed of one step; step 0 stands for the first weights."""
    return int.from_bytes(hashlib.blake2b(f"{seed} {step}".encode(), digest_size=7).digest())
