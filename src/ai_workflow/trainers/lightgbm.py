"""Gradient boosted trees by LightGBM: one step is one boosting round (one tree for each class)."""

from __future__ import annotations

import contextlib
import ctypes
import difflib
import hashlib
import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import lightgbm
import numpy as np

from ai_workflow import memory, settings
from ai_workflow.errors import StageError

if TYPE_CHECKING:
    from ai_workflow.trainers import Predict, Rows, TrainingData

# The parameters in a model's text differ between machines and resumed runs, and predictions do not depend on them.
_PARAMETERS = re.compile(r"\nparameters:\n.*?\nend of parameters\n", re.DOTALL)
# Where in its own source LightGBM found an error.
_CODE_PLACE = re.compile(r" at \S+, line \d+ \.\s*$")
# Same bytes on every run: no racing histograms, one memory layout.
_FIXED = {"deterministic": True, "force_row_wise": True, "verbosity": -1}
_MANY_ROWS = 10_000
# Rows that are handed over for binning at once, as float64.
_AT_ONCE = 65_536
_NO_MEMORY = "bad_alloc"
# Slower, shrunk and with some columns left out of each tree: a lower log loss on small tables than LightGBM's defaults.
_DEFAULTS = {"learning_rate": 0.05, "lambda_l2": 1.0, "feature_fraction": 0.8}
_BAGGING = ("bagging_fraction", "pos_bagging_fraction", "neg_bagging_fraction")
# The settings say these; a second place would silently win or lose.
_OURS = {
    "num_iterations": "trainer.steps",
    "early_stopping_round": "trainer.early_stopping",
    "seed": "trainer.seed",
    "objective": "task",
    "num_class": "the target's classes",
}


class Trainer:
    """Trains on partitions without holding their raw rows; the same data and options give the same bytes."""

    library = "lightgbm"
    model_file = "model.txt"
    batch_size = None

    def start(self, data: TrainingData, options: settings.Trainer, batch_size: int = 128) -> None:
        """Bin the training rows, partition by partition; each step learns from all of them, whatever `batch_size`.

        Raises:
            StageError: a parameter belongs elsewhere, or LightGBM refuses it.
            MemoryError: the binned rows do not fit into memory.
        """
        self._data = data
        self._params = _objective(data.spec) | _DEFAULTS | _named(options.params) | _FIXED | {"seed": options.seed}
        try:
            self._training = _dataset(data.training, data.spec, self._params)
            self._validation = (
                _dataset(data.validation, data.spec, self._params, self._training) if data.validation else None
            )
            self._booster, self._step = self._begin(), 0
        except (lightgbm.basic.LightGBMError, TypeError) as error:
            raise StageError(
                f"LightGBM refuses {_blamed(options.params)}: {_CODE_PLACE.sub('', str(error))}", "Mend trainer.params"
            ) from error

    def step(self) -> bool:
        """Add one boosting round; False where no split gains anything any more."""
        self._booster.reset_parameter(_chance(self._params, self._step))
        self._step += 1
        with _memory_watched():
            return not self._booster.update()

    def loss(self) -> float:
        """Return the first metric of the objective, negated where more is better."""
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
        return self._booster.model_to_string(num_iteration=-1).encode()

    def load(self, state: bytes) -> None:
        """Go on from saved trees: they give the margins that the next tree corrects."""
        before = lightgbm.Booster(model_str=state.decode())
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
        text = self._booster.model_to_string(num_iteration=step)
        return _PARAMETERS.sub("\nparameters:\n\nend of parameters\n", text).encode()

    def _begin(self) -> lightgbm.Booster:
        booster = lightgbm.Booster(self._params, self._training)
        if self._validation:
            booster.add_valid(self._validation, "validation")
        return booster


def load(model: bytes) -> Predict:
    """Return the answering function of a LightGBM text model."""
    booster = lightgbm.Booster(model_str=model.decode())
    binary = b"\nobjective=binary" in model

    def predict(x: np.ndarray) -> np.ndarray:
        # Waking a second thread for a few rows costs more than it brings, most of all on a busy machine.
        answer = np.asarray(booster.predict(x, num_threads=1 if len(x) < _MANY_ROWS else 0))
        return np.column_stack([1 - answer, answer]) if binary else answer

    return predict


def importance(model: bytes) -> list[float]:
    """Return each feature's share of the gain of all splits."""
    gains = lightgbm.Booster(model_str=model.decode()).feature_importance("gain")
    return [float(gain) for gain in gains / max(gains.sum(), 1e-12)]


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


def _named(params: dict[str, Any]) -> dict[str, Any]:
    """Return the parameters by the names LightGBM itself uses, so that an alias wins over our default as well."""
    known = lightgbm.basic._ConfigAliases._get_all_param_aliases()
    names = {alias: name for name, aliases in known.items() for alias in (name, *aliases)}
    for given in params:
        if given not in names:
            near = difflib.get_close_matches(given, known, n=1)
            hint = f"Did you mean '{near[0]}'?" if near else "Remove it"
            raise StageError(f"trainer.params.{given} is not a parameter of LightGBM", hint)
        if (place := _OURS.get(names[given])) is not None:
            raise StageError(f"trainer.params.{given} is set by {place}", f"Remove it, and set {place}")
        if names[given] in _FIXED:
            raise StageError(
                f"trainer.params.{given} cannot be set: the same data must give the same model", "Remove it"
            )
    return {names[given]: value for given, value in params.items()}


def _blamed(params: dict[str, Any]) -> str:
    """Return which parameter LightGBM refuses even alone; its own message seldom says."""
    for name, value in params.items():
        try:
            lightgbm.Dataset(np.zeros((2, 1)), params={"verbosity": -1, name: value}).construct()
        except (lightgbm.basic.LightGBMError, TypeError):
            return f"trainer.params.{name} = {value!r}"
    return "trainer.params"


def _objective(spec: dict[str, Any]) -> dict[str, Any]:
    if spec["task"] == "regression":
        return {"objective": "regression"}
    classes = len(spec["classes"])
    return {"objective": "binary"} if classes == 2 else {"objective": "multiclass", "num_class": classes}


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
    return seeds | {name: params[name] - nudge for name in _BAGGING if params.get(name, 1) < 1}


def _dataset(
    parts: Sequence[Rows], spec: dict[str, Any], params: dict[str, Any], reference: lightgbm.Dataset | None = None
) -> lightgbm.Dataset:
    filled = [rows for rows in parts if len(rows)]
    categories = [index for index, feature in enumerate(spec["features"]) if feature["kind"] == "category"]

    def binned(at_once: int) -> lightgbm.Dataset:
        last: dict[str, Any] = {}
        with _memory_watched():
            return lightgbm.Dataset(
                [_Batches(rows, last, at_once) for rows in filled],
                np.concatenate([rows.read()[1] for rows in filled]),
                reference=reference,
                params=params,
                # A column's own name may hold characters that the model text cannot.
                feature_name=[f"f{index}" for index in range(len(spec["features"]))],
                categorical_feature=categories,
            ).construct()

    return memory.fitting(binned, _AT_ONCE)


@contextlib.contextmanager
def _memory_watched() -> Iterator[None]:
    """Raise a MemoryError where LightGBM's own error says that memory ran out."""
    try:
        yield
    except lightgbm.basic.LightGBMError as error:
        if _NO_MEMORY in str(error):
            raise MemoryError(str(error)) from error
        raise


def _margins(booster: lightgbm.Booster, parts: Sequence[Rows]) -> np.ndarray:
    raw = np.concatenate([np.asarray(booster.predict(rows.read()[0], raw_score=True)) for rows in parts if len(rows)])
    return np.asarray(raw.reshape(-1, order="F"))
