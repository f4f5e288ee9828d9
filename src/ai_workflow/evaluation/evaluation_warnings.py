"""Warnings of an evaluation report: reasons why a model that passes may be of little use."""

from __future__ import annotations

from ai_workflow.evaluation import scores
from ai_workflow.evaluation.report import EvaluationReport

# With fewer rows, one wrong prediction changes the accuracy by more than 3 %.
MIN_HOLDOUT_ROWS = 30
MAJORITY_SHARE = 0.8
# With fewer rows, isotonic regression follows chance (scikit-learn user guide, probability calibration).
MIN_ISOTONIC_ROWS = 1000


def find(report: EvaluationReport) -> list[str]:
    """Return the warnings of an evaluation report, each of one or two sentences."""
    warnings = [
        _baseline_warning(report),
        _majority_warning(report),
        _holdout_warning(report),
        _adapted_warning(report),
        *_calibration_warnings(report),
    ]
    # A target of 0 is frequent, and no fault of the holdout.
    warnings += [
        f"{name} cannot be computed: {scores.undefined_reason(name)}."
        for name in report["baseline"]
        if report["scores"][name] is None and name != "mape"
    ]
    return [text for text in warnings if text]


def _baseline_warning(report: EvaluationReport) -> str:
    gate = report["gate"]
    if gate["beats_baseline"]:
        return ""
    return f"The model does not beat the baseline ({gate['metric']} {scores.format_score(gate['baseline'])})."


def _majority_warning(report: EvaluationReport) -> str:
    if report["task"] != "classification":
        return ""
    largest = max(report["scores"]["per_class"], key=lambda line: line["support"])
    share = largest["support"] / report["holdout_rows"]
    if share < MAJORITY_SHARE:
        return ""
    return (
        f"{share:.1%} of the rows held out are of class `{largest['class']}`: accuracy is not informative, because a "
        "constant prediction of this class scores the same. Use `auc`, `average_precision` or `f1` (evaluate.metric) "
        "and the table per class."
    )


def _holdout_warning(report: EvaluationReport) -> str:
    rows = report["holdout_rows"]
    return (
        f"Only {rows} rows are held out, so the scores depend on chance. Add rows to the source."
        if rows < MIN_HOLDOUT_ROWS
        else ""
    )


def _calibration_warnings(report: EvaluationReport) -> list[str]:
    calibration = report["calibration"]
    if calibration is None:
        return []
    warnings = []
    if calibration["method"] == "isotonic" and calibration["rows"] < MIN_ISOTONIC_ROWS:
        warnings.append(
            f"The isotonic calibration is fitted on {calibration['rows']} rows only. Use trainer.calibration.method: "
            f"sigmoid, or raise trainer.calibration.fraction to have {MIN_ISOTONIC_ROWS}."
        )
    before, after = (scores.format_score(calibration[each]["log_loss"]) for each in ("before", "after"))
    if calibration["after"]["log_loss"] > calibration["before"]["log_loss"]:
        warnings.append(
            f"The calibration raises the log loss on the rows held out from {before} to {after}. Remove "
            "trainer.calibration, or raise its fraction."
        )
    return warnings


def _adapted_warning(report: EvaluationReport) -> str:
    changed = ", ".join(f"{name} {used} instead of {default}" for name, (default, used) in report["adapted"].items())
    if not changed:
        return ""
    return f"Parameters were fitted to {report['training_rows']} training rows: {changed}."
