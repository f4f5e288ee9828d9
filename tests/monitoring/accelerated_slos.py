"""The project's own promises, some sixty times as quick, so that a test sees in seconds what takes hours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import yaml

from ai_workflow.slo.durations import PATTERN, seconds
from tests.monitoring.paths import SLO_FILE

QUICKER = 60
# Shorter than that a window holds too few samples, one of which comes every second.
_LEAST = {"window": 5, "short": 5, "long": 5, "against": 5, "age": 5, "within": 3600}
# What a sixtieth of would still be too long, or depends on how much is asked.
_OTHERS: dict[str, dict[str, Any]] = {
    "InferenceAcuteErrors": {"requests": 10},
    # A process takes seconds to start: so many restarts are not in a sixtieth of the window.
    "ModelProcessRestarting": {"window": "60s"},
    "InferenceThroughputFloor": {"for": "2s", "window": "5s", "against": "20s"},
    "ModelAccuracyBelowObjective": {"for": "30s"},
    "ModelAccuracyBelowFloor": {"for": "2s"},
    "ModelLabelsStale": {"for": "2s", "age": "12s"},
    "PipelineNeverSucceeded": {"for": "10s"},
    "PipelineStageStalled": {"times": 50},
    "CheckpointStale": {"for": "2s", "age": "8s"},
    "ModelStoreDiskWillFill": {"ahead": "1s"},
    "AlertDeliveryFailing": {"window": "10s"},
}


def own(targets: Mapping[str, int], places: Mapping[str, str], channels: Sequence[str]) -> dict[str, Any]:
    """Return the whole file as it is, but for targets (ports by job), places and channels."""
    found: dict[str, Any] = yaml.safe_load(SLO_FILE.read_text())
    found["targets"] = {job: [f"127.0.0.1:{port}"] for job, port in targets.items()}
    found["places"] |= places
    return found | {"channels": list(channels)}


def quick(targets: Mapping[str, int], places: Mapping[str, str], channels: Sequence[str]) -> dict[str, Any]:
    """Return the same, sixty times as quick."""
    found: dict[str, Any] = _quicker("", own(targets, places, channels))
    for alerts in (found["alerts"], *(slo.get("alerts", {}) for slo in found["slos"])):
        for name in alerts.keys() & _OTHERS:
            alerts[name] |= _OTHERS[name]
    # What is well again in these tests is overdue again some seconds later.
    found["keep_firing"] = "1s"
    # Said again: not within a test.
    for route in found["routes"].values():
        route |= {"wait": "1s", "interval": "1s", "repeat": "1h"}
    return found


def _quicker(key: str, value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _quicker(name, inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_quicker(key, inner) for inner in value]
    if isinstance(value, str) and PATTERN.fullmatch(value) and seconds(value):
        return f"{max(_LEAST.get(key, 1), int(Decimal(seconds(value)) / QUICKER))}s"
    return value
