"""A model family of a team's own code: its trainer and its models, checked at each call."""

from __future__ import annotations

import inspect
import re
from collections.abc import Collection
from functools import partial
from typing import TYPE_CHECKING, Any

from ai_workflow.config import settings
from ai_workflow.errors import StageError
from ai_workflow.plugins import objects
from ai_workflow.plugins.names import CodePath
from ai_workflow.training import contributions, row_results
from ai_workflow.training.contributions import Model

if TYPE_CHECKING:
    from ai_workflow.training.protocol import Predict, TrainingData

_KEY = "trainer.kind"
# Methods of a trainer with their number of arguments.
_METHODS = {"start": 3, "step": 0, "loss": 0, "save": 0, "load": 1, "finish": 1}
# Other names are those of the other files of a version.
_FILE_NAME = re.compile(r"model[\w-]*(\.[\w-]+)*")
_DOCS = "See docs/own-code.md"
# A module with this attribute predicts the same for a row whatever rows are beside it, and gets all rows in one call.
_INDEPENDENT = "ROWS_ARE_INDEPENDENT"


class OwnFamily:
    """The class of a trainer, and the functions `load` and `importance` of its module.

    Raises:
        StageError: the code is not found, fails, or is no trainer.
    """

    def __init__(self, path: CodePath) -> None:
        self._label = f"{_KEY} {path}"
        self._module, self._class = objects.load(path, _KEY)
        problems = list(_problems(self._module, self._class))
        if problems:
            raise StageError(f"{self._label} in {self._module.__file__} is no trainer: {', '.join(problems)}", _DOCS)

    @property
    def parameters(self) -> tuple[str, ...] | None:
        """Names of the `trainer.params` that the class declares; None if it declares none."""
        names = getattr(self._class, "parameters", None)
        return None if names is None else tuple(names)

    def new_trainer(self) -> OwnTrainer:
        """Return a new trainer."""
        return OwnTrainer(self._label, self._class)

    def load(self, model: bytes) -> Predict:
        """Return the predict function of a model file."""
        with objects.calls(self._label, "load"):
            predict = self._module.load(model)
        if not callable(predict):
            raise StageError(f"{self._label}: load returned {_type(predict)}, not a function", _DOCS)

        is_independent = getattr(self._module, _INDEPENDENT, False)
        by_rows = partial if is_independent else partial(partial, row_results.in_tiles)
        function = contributions.of(predict)
        if function is not None and not callable(function):
            raise StageError(f"{self._label}: contributions of the loaded model is {_type(function)}, no method", _DOCS)
        explain = by_rows(row_results.CONTRIBUTIONS.compute, self._label, function) if function is not None else None
        return Model(by_rows(row_results.PREDICTIONS.compute, self._label, predict), explain)

    def importance(self, model: bytes) -> list[float]:
        """Return the shares of all features; empty if the module has no `importance`."""
        function = getattr(self._module, "importance", None)
        if function is None:
            return []
        with objects.calls(self._label, "importance"):
            return [float(share) for share in function(model)]

    def check_model(self, model: bytes, features: int, classes: int | None) -> None:
        """Raise StageError if a model cannot be loaded, or its output has another shape than the task requires."""
        import numpy as np

        loaded, sample = self.load(model), np.full((2, features), np.nan, dtype=np.float32)
        output = loaded(sample)
        expected = (2, classes) if classes is not None else (2,)
        if output.shape != expected:
            raise StageError(
                f"{self._label}: the prediction for 2 rows has the shape {output.shape}, and {expected} is required",
                "Return a column for each class of data.spec['classes'], or (n,) values for a regression",
            )
        if (explain := contributions.of(loaded)) is None:
            return
        shape = explain(sample).shape
        if shape != (*expected, features + 1):
            raise StageError(
                f"{self._label}: the contributions for 2 rows of {features} features have the shape {shape}, and "
                f"{(*expected, features + 1)} is required",
                "Return (n, classes, features + 1), or (n, features + 1) for a regression; the base value is last",
            )


class OwnTrainer:
    """A trainer whose errors name its file and line, and whose results have the types of the protocol."""

    def __init__(self, label: str, trainer: Any) -> None:
        self._label = label
        with objects.calls(label, "the constructor"):
            self._trainer = trainer()
        self.library: str = self._trainer.library
        self.model_file: str = self._trainer.model_file
        self.uses_weights = bool(getattr(self._trainer, "uses_weights", False))
        self.losses = getattr(self._trainer, "losses", ())
        if isinstance(self.losses, str) or not isinstance(self.losses, Collection):
            raise StageError(f"{label}: losses is {_type(self.losses)}, not a list of kinds of trainer.loss", _DOCS)
        if remedy := getattr(self._trainer, "memory_remedy", None):
            self.memory_remedy = str(remedy)

    @property
    def batch_size(self) -> int | None:
        """Rows per step; None if each step takes all rows."""
        return getattr(self._trainer, "batch_size", None)

    @batch_size.setter
    def batch_size(self, rows: int | None) -> None:
        self._trainer.batch_size = rows

    @property
    def adapted(self) -> dict[str, list[int]]:
        """Defaults that the trainer adapted to few rows."""
        return getattr(self._trainer, "adapted", {})

    def start(self, data: TrainingData, options: settings.Trainer, batch_size: int = 128) -> None:
        """Prepare the training."""
        self._call("start", object, data, options, batch_size)

    def step(self) -> bool:
        """Run one step; a result that is no boolean is an error, because None would end the training."""
        return bool(self._call("step", bool))

    def loss(self) -> float:
        """Return the loss after the last step."""
        return float(self._call("loss", float))

    def save(self) -> bytes:
        """Return everything that the next step depends on."""
        return bytes(self._call("save", bytes))

    def load(self, state: bytes) -> None:
        """Restore a saved state."""
        self._call("load", object, state)

    def finish(self, step: int) -> bytes:
        """Return the model file."""
        return bytes(self._call("finish", bytes, step))

    def _call(self, name: str, expected: type, *arguments: Any) -> Any:
        import numpy as np

        with objects.calls(self._label, name):
            result = getattr(self._trainer, name)(*arguments)
        also: dict[type, tuple[type, ...]] = {bool: (np.bool_,), float: (int, np.floating)}
        accepted = (expected, *also.get(expected, ()))
        if not isinstance(result, accepted):
            raise StageError(f"{self._label}: {name} returned {_type(result)}, not {expected.__name__}", _DOCS)
        return result


def _problems(module: Any, trainer: Any) -> list[str]:
    """Return the parts of the protocol that a class and its module lack."""
    if not inspect.isclass(trainer):
        return [f"it is {_type(trainer)}, not a class"]
    problems = [text for name, count in _METHODS.items() if (text := _method_problem(trainer, name, count))]
    texts = {name: getattr(trainer, name, None) for name in ("library", "model_file")}
    absent = [name for name, text in texts.items() if not text or not isinstance(text, str)]
    problems += [f"it has no attribute {name} with text" for name in absent]
    file = texts["model_file"]
    if isinstance(file, str) and file and not _FILE_NAME.fullmatch(file):
        problems.append(f"its model_file {file!r} is not a name that begins with model")
    parameters = getattr(trainer, "parameters", None)
    if parameters is not None and not _are_names(parameters):
        problems.append(f"its attribute parameters is {_type(parameters)}, not a list of names")
    if not callable(getattr(module, "load", None)):
        problems.append("its module has no function load(model)")
    return problems


def _are_names(value: object) -> bool:
    return isinstance(value, Collection) and not isinstance(value, str) and all(isinstance(name, str) for name in value)


def _method_problem(trainer: type, name: str, count: int) -> str:
    method = getattr(trainer, name, None)
    if not callable(method):
        return f"it has no method {name}"
    try:
        inspect.signature(method).bind(*[None] * (count + 1))
    except TypeError:
        return f"its method {name} does not take {count} arguments"
    except ValueError:
        pass
    return ""


def _type(value: object) -> str:
    return "None" if value is None else type(value).__name__
