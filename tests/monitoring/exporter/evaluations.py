"""Records as the evaluation flow writes them."""

from __future__ import annotations

from typing import Any

from ai_workflow.storage.store import Store

RECORD: dict[str, Any] = {
    "pipeline": "credit", "model_version": "model_v1.2", "task": "classification",
    "labeled_total": 900, "correct_total": 810,
    "window": {"labeled": 200, "correct": 180, "accuracy": 0.9, "lower": 0.85, "upper": 0.93, "from": 1, "to": 2},
    "last_label": 1_795_000_000.0, "label_delay": {"0.5": 60.0, "0.9": 3600},
    "drift": {
        "features": {"age": {"psi": 0.3, "ks": 0.1}, "amount": {"psi": 0.05, "ks": None}},
        "prediction": {"psi": 0.02}, "threshold": 0.2, "rows": 200,
    },
    "evaluated": 1_795_000_001.0, "trace_id": "a" * 32,
}  # fmt: skip


def write(store: Store, pipeline: str, version: str, **changes: Any) -> None:
    """Write a record, with fields changed."""
    body = {**RECORD, "pipeline": pipeline, "model_version": version, **changes}
    store.write_record(f"evaluations/{pipeline}/{version}.json", body)
