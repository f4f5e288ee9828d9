"""An evaluation report for tests, as the evaluator writes it."""

from __future__ import annotations

from typing import Any


def report(**other: Any) -> dict[str, Any]:
    """Return the report of a classification, changed by what is given."""
    body: dict[str, Any] = {
        "pipeline": "credit", "task": "classification", "target": "good", "classes": ["no", "yes"],
        "kind": "lightgbm", "library": "lightgbm 4.6.0", "steps": 300, "losses": [[1, 0.6], [300, 0.2]],
        "training_rows": 800, "validation_rows": 90, "holdout_rows": 1000, "holdout": "20% by the hash of the id",
        "features": 12, "columns": 10, "trace_id": "f" * 32, "data": "0123", "stable": None,
        "scores": {
            "accuracy": 0.977, "auc": None, "log_loss": 0.1, "confusion": [[970, 7], [16, 7]],
            "per_class": [
                {"class": "no", "precision": 0.9, "recall": 0.99, "f1": 0.95, "support": 977},
                {"class": "yes", "precision": 0.5, "recall": 0.3, "f1": 0.375, "support": 23},
            ],
        },
        "baseline": {"accuracy": 0.977, "auc": 0.5, "log_loss": 0.11},
        "scoring": {"positive_class": "yes", "quantile": None},
        "gate": {"metric": "accuracy", "verdict": "passes", "baseline": 0.955, "beats_baseline": True},
        "adapted": {}, "threshold": None, "calibration": None, "cross_validation": None, "search": None,
        "hyperparameters": {"steps": 300, "seed": 0, "params": {"learning_rate": 0.1}}, "period": None,
        "curves": {"roc": [[0, 0], [0.1, 0.8], [1, 1]], "precision_recall": [[0.5, 1], [1, 0.3]],
                   "calibration": [[0.1, 0.12, 500], [0.8, 0.7, 500]]},
        "left_out": {"rejected": 0, "without_target": 0, "duplicates": 0},
        "used_columns": ["age", "city"], "unused_columns": {}, "undeclared": [],
        "warnings": [],
        "importance": [{"feature": "age", "share": 0.7}, {"feature": "city", "share": 0.3}],
        "contributions": {
            "rows": 400,
            "columns": [{"column": "age", "mean_absolute": 0.61234}, {"column": "city", "mean_absolute": 0.1}],
        },
        "plots": ["confusion.svg", "loss.svg"],
        "sample": [], "slices": [],
        "reduced": {},
    }  # fmt: skip
    return body | other
