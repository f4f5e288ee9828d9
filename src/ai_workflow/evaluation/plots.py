"""Plots of the model card as SVG; equal reports give equal bytes."""

from __future__ import annotations

import io
from typing import Any

from ai_workflow.evaluation.curves import Curves
from ai_workflow.evaluation.report import EvaluationReport
from ai_workflow.training.protocol import FeatureImportance

INK, BAR, SOFT = "#1f2933", "#2f6f9f", "#d5e3ee"


def draw(report: EvaluationReport) -> dict[str, bytes]:
    """Return the plots of an evaluation report as file name -> SVG."""
    import matplotlib as mpl

    # matplotlib would read a `$` in a column or class name as a formula.
    with mpl.rc_context({"svg.hashsalt": "ai-workflow", "svg.fonttype": "none", "text.parse_math": False}):
        return _draw(report)


def _draw(report: EvaluationReport) -> dict[str, bytes]:
    plots = {"loss.svg": _loss(report["losses"])}
    if report["importance"]:
        plots["features.svg"] = _importance(report["importance"][:15])
    if report["task"] == "classification":
        plots |= _curves(report["curves"]) if report["curves"] else {}
        plots["confusion.svg"] = _confusion(report["scores"]["confusion"], report["classes"] or [])
    else:
        plots["answers.svg"] = _predictions(report["sample"])
    return plots


def _figure(width: float, height: float) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots()
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    return figure, axes


def _svg(figure: Any) -> bytes:
    out = io.BytesIO()
    figure.savefig(out, format="svg", metadata={"Date": None})
    return out.getvalue()


def _printable(name: str) -> str:
    """Return a name with U+FFFD for the characters that XML does not allow."""
    return "".join(character if character.isprintable() else "�" for character in name)


def _loss(losses: list[tuple[int, float]]) -> bytes:
    figure, axes = _figure(5, 3)
    axes.plot(
        [step for step, _ in losses], [loss for _, loss in losses], color=BAR, marker="." if len(losses) < 30 else None
    )
    axes.set(xlabel="step", ylabel="loss", title="Loss while training")
    return _svg(figure)


def _importance(features: list[FeatureImportance]) -> bytes:
    figure, axes = _figure(5, 0.6 + 0.25 * len(features))
    axes.barh(
        [_printable(item["feature"]) for item in reversed(features)],
        [item["share"] for item in reversed(features)],
        color=BAR,
    )
    axes.set(xlabel="share of the gain", title="Features that matter most")
    return _svg(figure)


def _curves(curves: Curves) -> dict[str, bytes]:
    plots = {}
    if curves["roc"]:
        plots["roc.svg"] = _line(curves["roc"], "false positive rate", "true positive rate", "Holdout: ROC curve")
        plots["precision_recall.svg"] = _line(
            curves["precision_recall"], "recall", "precision", "Holdout: precision and recall", diagonal=False
        )
    points = [(mean, share) for mean, share, _ in curves["calibration"]]
    plots["calibration.svg"] = _line(points, "mean probability", "share of hits", "Holdout: calibration", marker="o")
    return plots


def _line(
    points: list[tuple[float, float]], x: str, y: str, title: str, *, marker: str | None = None, diagonal: bool = True
) -> bytes:
    figure, axes = _figure(4, 4)
    if diagonal:
        axes.plot([0, 1], [0, 1], color=INK, linewidth=0.8, linestyle=":")
    axes.plot([point[0] for point in points], [point[1] for point in points], color=BAR, marker=marker, markersize=4)
    axes.set(xlabel=x, ylabel=y, title=title, xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    return _svg(figure)


def _confusion(matrix: list[list[int]], classes: list[str]) -> bytes:
    size = min(9, 2 + 0.45 * len(classes))
    figure, axes = _figure(size, size)
    axes.imshow(matrix, cmap="Blues")
    if len(classes) <= 20:
        top = max(max(row) for row in matrix)
        for y, row in enumerate(matrix):
            for x, count in enumerate(row):
                axes.text(
                    x, y, str(count), ha="center", va="center", color="white" if count > top / 2 else INK, fontsize=8
                )
    ticks, names = range(len(classes)), [_printable(name[:12]) for name in classes]
    axes.set_xticks(ticks, names, rotation=90 if len(classes) > 4 else 0)
    axes.set_yticks(ticks, names)
    axes.set(xlabel="answer", ylabel="truth", title="Holdout: truth and answer")
    return _svg(figure)


def _predictions(sample: list[tuple[float, float]]) -> bytes:
    figure, axes = _figure(4.5, 4.5)
    truth = [pair[0] for pair in sample]
    predictions = [pair[1] for pair in sample]
    axes.scatter(truth, predictions, s=8, color=BAR, alpha=0.5, linewidths=0)
    low, high = min(truth), max(truth)
    axes.plot([low, high], [low, high], color=INK, linewidth=0.8)
    axes.set(xlabel="truth", ylabel="answer", title="Holdout: truth and answer")
    return _svg(figure)
