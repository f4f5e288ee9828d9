"""Metrics of a team's own code: loaded, called with checks of their results, and compared with shuffled labels."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from ai_workflow.datasets import fingerprint
from ai_workflow.errors import StageError
from ai_workflow.evaluation.held_out import PROBABILITIES, HeldOut
from ai_workflow.plugins import names, objects, own_versions
from ai_workflow.plugins.names import CodePath

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

KEY = "evaluate.metrics"
_DIRECTION = "greater_is_better"
_POSITIVE = "positive"
_DOCS = "See docs/own-code.md#metrics"


class MetricFunction(Protocol):
    """A metric of the rows held out. It may leave out `probabilities`, and may take `positive`, the name of a class.

    The function of the quality gate or of a search has the attribute `greater_is_better`, True or False.
    """

    def __call__(self, target: pd.Series, prediction: pd.Series, probabilities: pd.DataFrame) -> float:
        """Return the value of the metric.

        Args:
            target: true class as text (empty if the training rows do not have it), or value.
            prediction: predicted class as text, or value.
            probabilities: one column for each class; without columns for a regression.
        """


class OwnMetric:
    """A metric function, imported and called with checks.

    Raises:
        StageError: the code is not found or fails, or is no metric.
    """

    def __init__(self, text: str) -> None:
        self._path = code_path(text)
        self._label = f"{KEY} {self._path}"
        _, self._function = objects.load(self._path, KEY)
        if not callable(self._function) or isinstance(self._function, type):
            raise StageError(f"{self._label} is {type(self._function).__name__}, not a function", _DOCS)
        self._parameters = self._check_signature()

    @property
    def greater_is_better(self) -> bool:
        """Whether a greater value is better.

        Raises:
            StageError: the function does not declare it.
        """
        value = getattr(self._function, _DIRECTION, None)
        if not isinstance(value, bool):
            raise StageError(
                f"{self._label}{self._location()}: evaluate.metric and trainer.search.metric need its attribute "
                f"{_DIRECTION}, which is {value}",
                f"Write {self._path.name}.{_DIRECTION} = True after it, or False",
            )
        return value

    def check_classes(self, positive: str | None) -> None:
        """Raise StageError if the metric is that of one class, and there is no positive class."""
        if _POSITIVE in self._parameters and positive is None:
            raise StageError(
                f"{self._label}{self._location()} is a metric of one class, and there is no positive class",
                "Set evaluate.positive_class",
            )

    def check_per_class(self) -> None:
        """Raise StageError if the metric cannot have a minimum for each class."""
        if _POSITIVE not in self._parameters or not self.greater_is_better:
            raise StageError(
                f"{self._label}{self._location()} cannot have a minimum for each class (evaluate.per_class)",
                f"Give it the parameter {_POSITIVE}, the name of a class, and {_DIRECTION} = True",
            )

    def value(self, rows: HeldOut) -> float:
        """Return the metric.

        Raises:
            StageError: the function raises, or its result is no finite number.
        """
        value = self.value_or_nan(rows)
        if not math.isfinite(value):
            raise StageError(
                f"{self._label}{self._location()}: the result for {len(rows.y)} rows held out is {value}",
                "Return a finite number, also if a class is never predicted",
            )
        return value

    def value_or_nan(self, rows: HeldOut) -> float:
        """Return the metric, which may be infinite or NaN."""
        import numpy as np

        self.check_classes(rows.positive)
        arguments = {**rows.arguments(), _POSITIVE: rows.positive}
        for name in {PROBABILITIES, _POSITIVE} - self._parameters:
            del arguments[name]
        target, prediction = arguments.pop("target"), arguments.pop("prediction")
        with objects.calls(self._label, "the function"):
            result = self._function(target, prediction, **arguments)
        if isinstance(result, bool | np.bool_) or not isinstance(result, int | float | np.integer | np.floating):
            kind = type(result).__name__
            raise StageError(f"{self._label}{self._location()}: it returned {kind}, not a number", "Return a float")
        return float(result)

    def _check_signature(self) -> set[str]:
        """Return which of `probabilities` and `positive` the function takes."""
        try:
            signature = inspect.signature(self._function)
        except ValueError:
            return set()
        named = {PROBABILITIES, _POSITIVE} & set(signature.parameters)
        try:
            signature.bind(None, None, **dict.fromkeys(named))
        except TypeError as error:
            raise StageError(
                f"{self._label}{self._location()} does not take (target, prediction) or "
                f"(target, prediction, probabilities): {error}",
                _DOCS,
            ) from error
        return named

    def _location(self) -> str:
        return objects.location_of(self._function)


def code_path(text: str) -> CodePath:
    """Return the path of a metric function.

    Raises:
        StageError: it is no path, and no entry point has this name.
    """
    if path := names.path("metrics", text):
        return path
    raise StageError(f"{KEY}: there is no metric {text}", "Write module:name")


def check(texts: Iterable[str], judged: str, per_class: Iterable[str] = ()) -> tuple[str, ...]:
    """Import all metrics, and return their code for a cache key.

    Args:
        texts: names of own metrics.
        judged: the metric of the quality gate, which may be one of them.
        per_class: own metrics with a minimum for each class.

    Raises:
        StageError: a metric is not found or is no metric, or that of the gate does not say which value is better.
    """
    per_class = tuple(per_class)
    texts = tuple(dict.fromkeys((*texts, *per_class)))
    for text in per_class:
        OwnMetric(text).check_per_class()
    for text in texts:
        metric = OwnMetric(text)
        if text == judged:
            _ = metric.greater_is_better
    references = (own_versions.reference(code_path(text)) for text in texts)
    return tuple(sorted({reference for reference in references if reference}))


def values(texts: Iterable[str], rows: HeldOut) -> dict[str, float]:
    """Return the value of each metric."""
    return {text: OwnMetric(text).value(rows) for text in texts}


def of_classes(texts: Iterable[str], rows: HeldOut) -> dict[str, dict[str, float]]:
    """Return {class: {metric: value}} for metrics of one class and all classes of the rows."""
    present = [name for index, name in enumerate(rows.classes or ()) if (rows.y == index).any()]
    metrics = {text: OwnMetric(text) for text in texts}
    return {
        name: {text: metric.value(replace(rows, positive=name)) for text, metric in metrics.items()} for name in present
    }


def codes(texts: Iterable[str]) -> dict[str, str]:
    """Return a digest of the code of each metric."""
    return {text: fingerprint.of_own_code(code_path(text)) for text in texts}


def best_constant(text: str, rows: HeldOut, constants: Iterable[np.ndarray]) -> float | None:
    """Return the best value of a metric for constant predictions; None if it has no finite value for any of them.

    Without `greater_is_better` it is that of the first constant.
    """
    metric = OwnMetric(text)
    found = [metric.value_or_nan(replace(rows, predictions=constant, threshold=None)) for constant in constants]
    try:
        best: Callable[[list[float]], float] = max if metric.greater_is_better else min
    except StageError:
        found, best = found[:1], min
    return best(finite) if (finite := [value for value in found if math.isfinite(value)]) else None


def is_significant(text: str, rows: HeldOut, level: float, shuffles: int = 99) -> bool:
    """Return whether at most the share `level` of shuffled labels gives a value that is not worse."""
    import numpy as np

    metric, random = OwnMetric(text), np.random.default_rng(0)
    sign = 1 if metric.greater_is_better else -1
    # Sums of the same numbers in another order differ in the last digits.
    lowest = (observed := sign * metric.value(rows)) - 1e-12 * max(1.0, abs(observed))
    reached = 0
    for _ in range(shuffles):
        shuffled = replace(rows, y=random.permutation(rows.y))
        reached += sign * metric.value_or_nan(shuffled) >= lowest
        if (1 + reached) / (1 + shuffles) > level:
            return False
    return True
