"""Accuracy, label delay and drift of each version, from the records that the evaluation flow writes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

from ai_workflow.errors import StoreError
from ai_workflow.exporter.failures import Failures
from ai_workflow.exporter.samples import Labels, Sample
from ai_workflow.storage.store import Store

FOLDER = "evaluations"
# Each feature is a series: of more than these the ones that drifted least are left out.
FEATURES = 20
# Of a version that nobody asked anything yet.
_NO_DRIFT: dict[str, Any] = {"features": {}, "prediction": {"psi": None}, "threshold": None}
_WINDOW = {
    "model_labeled_predictions_window": "labeled",
    "model_accuracy_current": "accuracy",
    "model_accuracy_lower": "lower",
    "model_accuracy_upper": "upper",
}


class EvaluationSource:
    """Keeps what the newest evaluation of each version found; where a record is damaged, the one before.

    Args:
        store: the store.
        shown: gives the versions of a pipeline that are shown, None for all.
        failures: where damaged records are counted.
    """

    name = "evaluations"

    def __init__(self, store: Store, shown: Callable[[str], set[str] | None], failures: Failures) -> None:
        self._store, self._shown, self._failures = store, shown, failures
        self._known: dict[tuple[str, str], tuple[tuple[int, ...] | None, list[Sample]]] = {}

    def look(self) -> list[Sample]:
        """Return what the evaluations found."""
        there = {
            (pipeline, name.removesuffix(".json"))
            for pipeline in self._store.names(FOLDER)
            for name in self._store.names(f"{FOLDER}/{pipeline}")
            if name.endswith(".json")
        }
        for key in self._known.keys() - there:
            del self._known[key]
        return [sample for key in sorted(there) if self._is_shown(*key) for sample in self._of(key)]

    def _is_shown(self, pipeline: str, version: str) -> bool:
        shown = self._shown(pipeline)
        return shown is None or version in shown

    def _of(self, key: tuple[str, str]) -> list[Sample]:
        path = "/".join((FOLDER, *key)) + ".json"
        before, samples = self._known.get(key, (None, []))
        try:
            now = self._stamp(path)
            if now is None or now != before:
                samples = list(_samples(key, self._store.read_record(path)))
                self._known[key] = (now, samples)
        except (StoreError, OSError) as error:
            self._failures.note(self.name, error)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            self._failures.note(self.name, StoreError(f"{self._store.url(path)} is no evaluation: {error!r}"))
        return samples

    def _stamp(self, path: str) -> tuple[int, ...] | None:
        if not self._store.is_local:
            return None
        found = self._store.local(path).stat()
        return found.st_ino, found.st_mtime_ns, found.st_size


def _samples(labels: Labels, record: dict[str, Any]) -> Iterator[Sample]:
    """Yield the samples of a record; what it does not know (null) is not shown."""
    window, drift = record["window"], record["drift"] or _NO_DRIFT
    values = {
        "model_labeled_predictions_total": record["labeled_total"],
        "model_correct_predictions_total": record["correct_total"],
        "model_last_label_timestamp_seconds": record["last_label"],
        "prediction_drift_psi": drift["prediction"]["psi"],
        "drift_threshold_psi": drift["threshold"],
        **{name: window[field] for name, field in _WINDOW.items()},
    }
    yield from (Sample(name, labels, _number(value)) for name, value in values.items() if value is not None)
    if trace_id := record["trace_id"]:
        yield Sample("model_evaluation_info", (*labels, str(trace_id)), 1.0)
    for quantile, seconds in sorted(record["label_delay"].items()):
        if seconds is not None:
            yield Sample("model_label_delay_seconds", (*labels, quantile), _number(seconds))
    drifted = {name: _number(found["psi"]) for name, found in drift["features"].items() if found["psi"] is not None}
    for name in sorted(drifted, key=lambda name: (-drifted[name], name))[:FEATURES]:
        yield Sample("feature_drift_psi", (*labels, name), drifted[name])


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{value!r} is no number")
    return float(value)
