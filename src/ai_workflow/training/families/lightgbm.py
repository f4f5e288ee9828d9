"""Gradient boosted trees by LightGBM: one step is one boosting round (one tree for each class)."""

from __future__ import annotations

import ctypes
import hashlib
import re
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import lightgbm
import numpy as np

from ai_workflow.config import settings
from ai_workflow.errors import StageError
from ai_workflow.runtime import memory_pressure
from ai_workflow.training.contributions import Model
from ai_workflow.training.families import lightgbm_dataset, lightgbm_params, lightgbm_target
from ai_workflow.training.families.lightgbm_errors import CODE_LOCATION, translated_errors, translated_memory_errors
from ai_workflow.training.families.lightgbm_params import BAGGING, Params
from ai_workflow.training.families.native_output import silence_native_stderr

if TYPE_CHECKING:
    from ai_workflow.training.protocol import Predict, Rows, TrainingData

# The parameters in a model's text differ between machines and resumed runs; predictions do not depend on them.
_PARAMETERS = re.compile(r"\nparameters:\n.*?\nend of parameters\n", re.DOTALL)
# Fewer rows are predicted by one thread.
_MIN_ROWS_FOR_THREADS = 10_000
# LightGBM has no contributions for such trees.
_LINEAR_TREE = b"\nis_linear=1\n"
_SMALLER_MODEL = "a smaller model: trainer.params.num_leaves, trainer.steps"


class Trainer:
    """Trainer that bins partitions and drops their raw rows; the same data and options give the same bytes."""

    library = "lightgbm"
    model_file = "model.txt"
    batch_size = None
    uses_weights = True
    losses = frozenset({"squared", "absolute", "huber", "quantile"})
    memory_remedy = f"{memory_pressure.MORE_MEMORY}, or give it {lightgbm_dataset.LESS_DATA} or histogram_pool_size"

    def start(self, data: TrainingData, options: settings.Trainer, batch_size: int = 128) -> None:
        """Bin the training rows, partition by partition; each step uses all of them, so `batch_size` has no effect.

        Raises:
            StageError: a parameter is rejected by this project or by LightGBM, or no feature can be split.
            MemoryError: the binned rows do not fit into memory.
        """
        self._data = data
        rows = sum(map(len, data.training))
        self._params, self.adapted = lightgbm_params.build(options, data.spec, rows)
        self._center = lightgbm_target.center(data.spec, self._params)
        try:
            with translated_memory_errors(self.memory_remedy):
                build = partial(lightgbm_dataset.build, is_weighted=data.is_weighted)
                self._training = build(data.training, data.spec, self._params, self._center)
                self._validation = (
                    build(data.validation, data.spec, self._params, self._center, self._training)
                    if data.validation
                    else None
                )
                lightgbm_dataset.check_splits(self._training, data.spec, rows)
                self._booster, self._step = self._new_booster(), 0
        except (lightgbm.basic.LightGBMError, TypeError) as error:
            raise StageError(
                f"LightGBM rejects {_rejected_parameter(options.params)}: {CODE_LOCATION.sub('', str(error))}",
                "Fix trainer.params",
            ) from error

    def step(self) -> bool:
        """Add one boosting round, and return False if no split has a gain."""
        with translated_errors(f"in step {self._step + 1}"):
            self._booster.reset_parameter(_random_parameters(self._params, self._step))
            self._step += 1
            return not self._booster.update()

    def loss(self) -> float:
        """Return the first metric of the objective, negated if higher is better."""
        with translated_errors("in the loss"):
            results = self._booster.eval_valid() if self._validation else self._booster.eval_train()
        if not results:
            raise StageError(
                f"trainer.params.metric {self._params.get('metric')!r} gives no loss",
                "Name a metric of LightGBM, or remove it",
            )
        value, higher_is_better = results[0][2], results[0][3]
        # Threads add up in any order, so that further digits are random.
        return float(f"{-value if higher_is_better else value:.12g}")

    def save(self) -> bytes:
        """Return the trees so far; the margins are a function of them, bit by bit."""
        with translated_errors("in saving"):
            return self._booster.model_to_string(num_iteration=-1).encode()

    def load(self, state: bytes) -> None:
        """Resume from saved trees, whose margins the next tree corrects."""
        with translated_errors("in resuming"):
            self._restore(lightgbm.Booster(model_str=state.decode()))

    def _restore(self, saved: lightgbm.Booster) -> None:
        self._training.set_init_score(_margins(saved, self._data.training))
        if self._validation:
            self._validation.set_init_score(_margins(saved, self._data.validation))
        self._booster, self._step = self._new_booster(), saved.current_iteration()
        handles = [ctypes.c_void_p(booster._handle.value) for booster in (self._booster, saved)]
        lightgbm.basic._safe_call(
            lightgbm.basic._LIB.LGBM_BoosterMerge(*handles)  # type: ignore[attr-defined]
        )

    def finish(self, step: int) -> bytes:
        """Return the model of the first `step` rounds as LightGBM text."""
        with translated_errors("in writing the model"):
            text = self._booster.model_to_string(num_iteration=step)
            if self._center:
                text = lightgbm_target.add(text, self._center)
        return _PARAMETERS.sub("\nparameters:\n\nend of parameters\n", text).encode()

    def _new_booster(self) -> lightgbm.Booster:
        booster = lightgbm.Booster(self._params, self._training)
        if self._validation:
            booster.add_valid(self._validation, "validation")
        return booster


def load(model: bytes) -> Predict:
    """Return the predict function of a LightGBM text model, with the contributions of its features."""
    with translated_memory_errors(f"{memory_pressure.MORE_MEMORY}, or train {_SMALLER_MODEL}"):
        booster = lightgbm.Booster(model_str=model.decode())
    binary = b"\nobjective=binary" in model
    blocks = memory_pressure.BatchSplitter(None, 1, f"{memory_pressure.MORE_MEMORY}, or train {_SMALLER_MODEL}")

    def predict(x: np.ndarray) -> np.ndarray:
        # For a few rows, waking a second thread takes longer than it saves.
        with translated_errors("in a prediction"):
            output = np.asarray(booster.predict(x, num_threads=1 if len(x) < _MIN_ROWS_FOR_THREADS else 0))
        return np.column_stack([1 - output, output]) if binary else output

    def contributions(x: np.ndarray) -> np.ndarray:
        with translated_errors("in the contributions"):
            output = np.asarray(booster.predict(x, pred_contrib=True, num_threads=1 if len(x) == 1 else 0))
        if binary:
            # The raw score of the other class is the negative one.
            return np.stack([-output, output], axis=1)
        return output.reshape(len(x), -1, x.shape[1] + 1) if booster.num_model_per_iteration() > 1 else output

    def in_blocks(work: Predict) -> Predict:
        return lambda x: np.concatenate(blocks.each(len(x), lambda start, end: work(x[start:end])))

    return Model(in_blocks(predict), None if _LINEAR_TREE in model else in_blocks(contributions))


def importance(model: bytes) -> list[float]:
    """Return each feature's share of the gain of all splits."""
    with translated_memory_errors(f"{memory_pressure.MORE_MEMORY}, or train {_SMALLER_MODEL}"):
        booster = lightgbm.Booster(model_str=model.decode())
    gains = booster.feature_importance("gain")
    if not np.isfinite(gains).all():
        # A gain is a sum of squares in float32, which overflows for targets around 1e19.
        gains = booster.feature_importance("split")
    return [float(gain) for gain in gains / max(gains.sum(), 1e-12)]


def _rejected_parameter(params: Params) -> str:
    """Return the parameter that LightGBM rejects even alone; its own message rarely names it."""
    for name, value in params.items():
        try:
            with silence_native_stderr():
                lightgbm.Dataset(np.zeros((2, 1)), params={"verbosity": -1, name: value}).construct()
        except (lightgbm.basic.LightGBMError, TypeError):
            return f"trainer.params.{name} = {value!r}"
    return "trainer.params"


def _random_parameters(params: Params, step: int) -> Params:
    """Return parameters that make the randomness of a step a function of the seed and the step.

    LightGBM's generators keep state between steps and cannot be saved. A new seed takes effect only with another
    bagging fraction, which therefore alternates by a billionth between steps.
    """
    seeds = {
        name: int.from_bytes(
            hashlib.blake2b(f"{params['seed']} {step // every} {name}".encode(), digest_size=3).digest()
        )
        for name, every in (
            ("feature_fraction_seed", 1),
            ("extra_seed", 1),
            ("bagging_seed", params.get("bagging_freq") or 1),
        )
    }
    nudge = (1 + step % 2) * 1e-9
    return seeds | {name: params[name] - nudge for name in BAGGING if params.get(name, 1) < 1}


def _margins(booster: lightgbm.Booster, parts: Sequence[Rows]) -> np.ndarray:
    raw = np.concatenate([np.asarray(booster.predict(rows.read()[0], raw_score=True)) for rows in parts if len(rows)])
    return np.asarray(raw.reshape(-1, order="F"))
