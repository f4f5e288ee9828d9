"""Accuracy, label delay and drift by version, from the records of the evaluation flow."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

from ai_workflow.errors import StoreError
from ai_workflow.exporter.failures import Failures
from ai_workflow.exporter.samples import Labels, Sample
from ai_workflow.storage.store import Store

FOLDER = "evaluations"
# Each feature is a series. Only the features with the largest drift are exported.
MAX_FEATURES = 20
# Drift of a version without requests.
_NO_DRIFT: dict[str, Any] = {"features": {}, "prediction": {"psi": None}, "threshold": None}
_WINDOW = {
    "model_labeled_predictions_window": "labeled",
    "model_accuracy_current": "accuracy",
    "model_accuracy_lower": "lower",
    "model_accuracy_upper": "upper",
}


class EvaluationSource:
    """Results of the newest readable evaluation of each version.

    Args:
        store: the store.
        visible_versions: returns the exported versions of a pipeline, or None for all.
        failures: counter of damaged records.
    """

    name = "evaluations"

    def __init__(self, store: Store, visible_versions: Callable[[str], set[str] | None], failures: Failures) -> None:
        self._store, self._visible_versions, self._failures = store, visible_versions, failures
        self._cached: dict[tuple[str, str], tuple[tuple[int, ...] | None, list[Sample]]] = {}

    def collect(self) -> list[Sample]:
        """Return the samples of all evaluations."""
        keys = {
            (pipeline, name.removesuffix(".json"))
            for pipeline in self._store.names(FOLDER)
            for name in self._store.names(f"{FOLDER}/{pipeline}")
            if name.endswith(".json")
        }
        for key in self._cached.keys() - keys:
            del self._cached[key]
        return [sample for key in sorted(keys) if self._is_visible(*key) for sample in self._read(key)]

    def _is_visible(self, pipeline: str, version: str) -> bool:
        versions = self._visible_versions(pipeline)
        return versions is None or version in versions

    def _read(self, key: tuple[str, str]) -> list[Sample]:
        path = "/".join((FOLDER, *key)) + ".json"
        previous, samples = self._cached.get(key, (None, []))
        try:
            current = self._file_state(path)
            if current is None or current != previous:
                samples = list(_samples(key, self._store.read_record(path)))
                self._cached[key] = (current, samples)
        except (StoreError, OSError) as error:
            self._failures.record(self.name, error)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            self._failures.record(
                self.name, StoreError(f"{self._store.url(path)} is not a valid evaluation: {error!r}")
            )
        return samples

    def _file_state(self, path: str) -> tuple[int, ...] | None:
        if not self._store.is_local:
            return None
        stat = self._store.local(path).stat()
        return stat.st_ino, stat.st_mtime_ns, stat.st_size


def _samples(labels: Labels, record: dict[str, Any]) -> Iterator[Sample]:
    """Yield the samples of a record, without the values that are null."""
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
    drifted = {name: _number(item["psi"]) for name, item in drift["features"].items() if item["psi"] is not None}
    for name in sorted(drifted, key=lambda name: (-drifted[name], name))[:MAX_FEATURES]:
        yield Sample("feature_drift_psi", (*labels, name), drifted[name])


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{value!r} is not a number")
    return float(value)
