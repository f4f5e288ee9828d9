"""Report of a hyperparameter search: the best trials, and doubts about them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from ai_workflow.config.settings import Search, trainer_params
from ai_workflow.evaluation import scores

if TYPE_CHECKING:
    from ai_workflow.config.settings import Trainer
    from ai_workflow.evaluation.report import SearchReport, Trial

_NAME = "trainer.search"
_SHOWN_TRIALS = 10
# In a range of fewer whole numbers the best is often at an end.
_MIN_VALUES = 5


def rank(finished: Sequence[Trial], *, maximize: bool) -> list[Trial]:
    """Return the trials that did not fail, the best first, and of those with equal parameters the first only.

    Of equal values the earliest trial is the best.
    """
    sign = -1 if maximize else 1
    scored = [(sign * trial["value"], trial["number"], trial) for trial in finished if trial["value"] is not None]
    different: dict[str, Trial] = {}
    for _, _, trial in sorted(scored, key=lambda each: each[:2]):
        different.setdefault(repr(sorted(trial["params"].items())), trial)
    return list(different.values())


def of(search: Search, metric: str, finished: Sequence[Trial], ranked: Sequence[Trial], rows: int) -> SearchReport:
    """Return the report of all trials for the model card."""
    failed = sum(trial["value"] is None for trial in finished)
    return {
        "metric": metric, "trials": len(finished), "failed": failed, "rows": rows, "folds": search.folds,
        "scored_folds": search.scored_folds, "seed": search.seed, "best": ranked[0],
        "top": list(ranked[:_SHOWN_TRIALS]),
    }  # fmt: skip


def summary(report: SearchReport) -> str:
    """Return the report as one line."""
    failed = f", {report['failed']} failed" if report["failed"] else ""
    value = scores.format_score(report["best"]["value"])
    return f"{report['trials']} trials{failed}, the best is {report['best']['number']}: {report['metric']} {value}"


def doubts(search: Search, trainer: Trainer, report: SearchReport, finished: Sequence[Trial]) -> Iterator[str]:
    """Yield warnings if most trials failed, and of best values at an end of their range."""
    if 2 * report["failed"] > report["trials"]:
        error = next(trial["error"] for trial in finished if trial["error"])
        yield f"{report['failed']} of {report['trials']} trials of {_NAME} failed, the first with: {error}"
    if len({trial["value"] for trial in report["top"]}) < 2:
        return
    for name, value in report["best"]["params"].items():
        parameter = search.parameters[name]
        end = parameter.end_at(value)
        if end is None or parameter.count < _MIN_VALUES:
            continue
        if not trainer_params.problems(trainer.kind, {name: parameter.beyond(end)}):
            yield (
                f"the best {name} of {_NAME} is at the end of its range, {end:g}: values beyond it may be better. "
                f"Widen {_NAME}.parameters.{name}"
            )
