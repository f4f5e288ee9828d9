"""Warnings about an evaluation: reasons for which a model that passes may be of little use."""

from __future__ import annotations

from typing import Any

from ai_workflow.evaluation import scores

# With fewer rows held out, one wrong answer moves the accuracy by more than 3 %.
FEW_ROWS = 30
MAJORITY = 0.8


def of(report: dict[str, Any]) -> list[str]:
    """Return the warnings of an evaluation report, each one sentence or two."""
    found = [_of_baseline(report), _of_majority(report), _of_rows(report), _of_adapted(report)]
    found += [
        f"{name} cannot be computed: the rows held out have one class, or one value, only."
        for name, value in report["scores"].items()
        if name in report["baseline"] and value is None
    ]
    return [text for text in found if text]


def _of_baseline(report: dict[str, Any]) -> str:
    gate = report["gate"]
    if gate["beats_baseline"]:
        return ""
    return f"The model does not beat a constant answer ({gate['metric']} {scores.shown(gate['baseline'])})."


def _of_majority(report: dict[str, Any]) -> str:
    if report["task"] != "classification":
        return ""
    largest = max(report["scores"]["per_class"], key=lambda line: line["support"])
    share = largest["support"] / report["holdout_rows"]
    if share < MAJORITY:
        return ""
    return (
        f"{share:.1%} of the rows held out are of class `{largest['class']}`: accuracy says little here, since always "
        "answering it scores as much. Judge by `auc` (evaluate.metric) and by the table per class."
    )


def _of_rows(report: dict[str, Any]) -> str:
    rows = report["holdout_rows"]
    return f"Only {rows} rows are held out, so the scores depend on chance. Give more rows." if rows < FEW_ROWS else ""


def _of_adapted(report: dict[str, Any]) -> str:
    changed = ", ".join(f"{name} {used} instead of {default}" for name, (default, used) in report["adapted"].items())
    if not changed:
        return ""
    return f"Parameters were fitted to {report['training_rows']} training rows: {changed}."
