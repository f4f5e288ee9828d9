"""Gradient boosted trees by LightGBM: one step is one boosting round (one tree for each class)."""

from __future__ import annotations

import ctypes
import hashlib
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import lightgbm
import numpy as np

from ai_workflow.config import settings
from ai_workflow.errors import StageError
from ai_workflow.runtime import memory_pressure
from ai_workflow.training.families import lightgbm_params
from ai_workflow.training.families.lightgbm_errors import CODE_PLACE, explained, memory_watched
from ai_workflow.training.families.lightgbm_params import BAGGING
from ai_workflow.training.families.native_output import silenced

if TYPE_CHECKING:
    from ai_workflow.features.spec import FeatureSpec
    from ai_workflow.training.protocol import Predict, Rows, TrainingData

# The parameters in a model's text differ between machines and resumed runs, and predictions do not depend on them.
_PARAMETERS = re.compile(r"\nparameters:\n.*?\nend of parameters\n", re.DOTALL)
_MANY_ROWS = 10_000
# Rows that are handed over for binning at once, as float64.
_AT_ONCE = 65_536
_SMALLER = "a smaller model: trainer.params.num_leaves, trainer.steps"
_LESS = "fewer rows or columns, or lower trainer.params.max_bin"


class Trainer:
    """Trains on partitions without holding their raw rows; the same data and options give the same bytes."""

    library = "lightgbm"
    model_file = "model.txt"
    batch_size = None
    memory_remedy = f"{memory_pressure.MORE_MEMORY}, or give it {_LESS} or histogram_pool_size"

    def start(self, data: TrainingData, options: settings.Trainer, batch_size: int = 128) -> None:
        """Bin the training rows, partition by partition; each step learns from all of them, whatever `batch_size`.

        Raises:
            StageError: a parameter belongs elsewhere or has no effect, LightGBM refuses it, or no feature can split.
            MemoryError: the binned rows do not fit into memory.
        """
        self._data = data
        rows = sum(map(len, data.training))
        self._params, self.adapted = lightgbm_params.of(options.params, data.spec, rows, options.seed)
        try:
            with memory_watched(self.memory_remedy):
                self._training = _dataset(data.training, data.spec, self._params)
                self._validation = (
                    _dataset(data.validation, data.spec, self._params, self._training) if data.validation else None
                )
                _check_splits(self._training, data.spec, rows)
                self._booster, self._step = self._begin(), 0
        except (lightgbm.basic.LightGBMError, TypeError) as error:
            raise StageError(
                f"LightGBM refuses {_blamed(options.params)}: {CODE_PLACE.sub('', str(error))}", "Fix trainer.params"
            ) from error

    def step(self) -> bool:
        """Add one boosting round, and return False if no split gains anything."""
        with explained(f"in step {self._step + 1}"):
            self._booster.reset_parameter(_chance(self._params, self._step))
            self._step += 1
            return not self._booster.update()

    def loss(self) -> float:
        """Return the first metric of the objective, negated where more is better."""
        with explained("in the loss"):
            results = self._booster.eval_valid() if self._validation else self._booster.eval_train()
        if not results:
            raise StageError(
                f"trainer.params.metric {self._params.get('metric')!r} gives no loss to watch",
                "Name a metric of LightGBM, or remove it",
            )
        value, more_is_better = results[0][2], results[0][3]
        # Threads add up in any order, so that the digits after these are chance.
        return float(f"{-value if more_is_better else value:.12g}")

    def save(self) -> bytes:
        """Return the trees so far; the margins follow from them, bit by bit."""
        with explained("in saving"):
            return self._booster.model_to_string(num_iteration=-1).encode()

    def load(self, state: bytes) -> None:
        """Go on from saved trees: they give the margins that the next tree corrects."""
        with explained("in resuming"):
            self._restore(lightgbm.Booster(model_str=state.decode()))

    def _restore(self, before: lightgbm.Booster) -> None:
        self._training.set_init_score(_margins(before, self._data.training))
        if self._validation:
            self._validation.set_init_score(_margins(before, self._data.validation))
        self._booster, self._step = self._begin(), before.current_iteration()
        handles = [ctypes.c_void_p(booster._handle.value) for booster in (self._booster, before)]
        lightgbm.basic._safe_call(
            lightgbm.basic._LIB.LGBM_BoosterMerge(*handles)  # type: ignore[attr-defined]
        )

    def finish(self, step: int) -> bytes:
        """Return the model of the first `step` rounds as LightGBM text."""
        with explained("in writing the model"):
            text = self._booster.model_to_string(num_iteration=step)
        return _PARAMETERS.sub("\nparameters:\n\nend of parameters\n", text).encode()

    def _begin(self) -> lightgbm.Booster:
        booster = lightgbm.Booster(self._params, self._training)
        if self._validation:
            booster.add_valid(self._validation, "validation")
        return booster


def load(model: bytes) -> Predict:
    """Return the answering function of a LightGBM text model."""
    with memory_watched(f"{memory_pressure.MORE_MEMORY}, or train {_SMALLER}"):
        booster = lightgbm.Booster(model_str=model.decode())
    binary = b"\nobjective=binary" in model
    blocks = memory_pressure.BatchSplitter(None, 1, f"{memory_pressure.MORE_MEMORY}, or train {_SMALLER}")

    def answer(x: np.ndarray) -> np.ndarray:
        # Waking a second thread for a few rows costs more than it brings, most of all on a busy machine.
        with explained("in an answer"):
            found = np.asarray(booster.predict(x, num_threads=1 if len(x) < _MANY_ROWS else 0))
        return np.column_stack([1 - found, found]) if binary else found

    return lambda x: np.concatenate(blocks.each(len(x), lambda start, end: answer(x[start:end])))


def importance(model: bytes) -> list[float]:
    """Return each feature's share of the gain of all splits."""
    with memory_watched(f"{memory_pressure.MORE_MEMORY}, or train {_SMALLER}"):
        booster = lightgbm.Booster(model_str=model.decode())
    gains = booster.feature_importance("gain")
    if not np.isfinite(gains).all():
        # A gain is a sum of squares in float32: of targets around 1e19 it is infinite.
        gains = booster.feature_importance("split")
    return [float(gain) for gain in gains / max(gains.sum(), 1e-12)]


class _Dataset(lightgbm.Dataset):
    """A dataset that gets all parameters: LightGBM's own leaves out those of the tree that binning reads as well."""

    def get_params(self) -> dict[str, Any]:
        """Return the parameters by which the rows are binned."""
        return dict(self.params or {})


class _Batches(lightgbm.Sequence):
    """The rows of one partition as LightGBM reads them; the last partition read stays in memory."""

    def __init__(self, rows: Rows, last: dict[str, Any], at_once: int) -> None:
        self._rows, self._last, self.batch_size = rows, last, at_once

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: Any) -> np.ndarray:
        if self._last.get("rows") is not self._rows:
            self._last.update(rows=self._rows, x=self._rows.read()[0])
        x: np.ndarray = self._last["x"]
        return np.asarray(x[index], dtype=np.float64)


def _blamed(params: dict[str, Any]) -> str:
    """Return which parameter LightGBM refuses even alone; its own message seldom says."""
    for name, value in params.items():
        try:
            with silenced():
                lightgbm.Dataset(np.zeros((2, 1)), params={"verbosity": -1, name: value}).construct()
        except (lightgbm.basic.LightGBMError, TypeError):
            return f"trainer.params.{name} = {value!r}"
    return "trainer.params"


def _check_splits(dataset: lightgbm.Dataset, spec: FeatureSpec, rows: int) -> None:
    """Raise StageError if LightGBM found no feature to split on; its own check gives a place in C++ only."""
    if any(dataset.feature_num_bin(index) for index in range(len(spec["features"]))):
        return
    raise StageError(
        f"no feature of {len(spec['features'])} can be split in {rows} training rows: each has one value, "
        "or too few rows with another one",
        "Give columns that vary or more rows, or lower trainer.params.min_data_in_leaf and min_data_in_bin",
    )


def _chance(params: dict[str, Any], step: int) -> dict[str, Any]:
    """Return the parameters that make all chance in a step a function of the seed and the step alone.

    LightGBM's generators run on from step to step and cannot be saved. A new seed is taken up only together with
    another bagging fraction, which therefore moves by a billionth, differently at each step.
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


def _dataset(
    parts: Sequence[Rows], spec: FeatureSpec, params: dict[str, Any], reference: lightgbm.Dataset | None = None
) -> lightgbm.Dataset:
    filled = [rows for rows in parts if len(rows)]
    categories = [index for index, feature in enumerate(spec["features"]) if feature["kind"] == "category"]

    def binned(at_once: int) -> lightgbm.Dataset:
        last: dict[str, Any] = {}
        with memory_watched():
            return _Dataset(
                [_Batches(rows, last, at_once) for rows in filled],
                np.concatenate([rows.read()[1] for rows in filled]),
                reference=reference,
                params=params,
                # A column's own name may hold characters that the model text cannot.
                feature_name=[f"f{index}" for index in range(len(spec["features"]))],
                categorical_feature=categories,
            ).construct()

    return memory_pressure.with_smaller_batches(
        binned, _AT_ONCE, remedy=f"{memory_pressure.MORE_MEMORY}, or give it {_LESS}"
    )


def _margins(booster: lightgbm.Booster, parts: Sequence[Rows]) -> np.ndarray:
    raw = np.concatenate([np.asarray(booster.predict(rows.read()[0], raw_score=True)) for rows in parts if len(rows)])
    return np.asarray(raw.reshape(-1, order="F"))
