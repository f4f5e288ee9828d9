"""Quality gate: the conditions that a candidate has to meet before it is published."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import Field

from ai_workflow.config.settings import CLASS_METRICS, METRICS, ConfigModel, Settings, Trainer
from ai_workflow.errors import StageError
from ai_workflow.evaluation import score_options, scores
from ai_workflow.evaluation.baseline import Comparison
from ai_workflow.evaluation.own_metrics import OwnMetric
from ai_workflow.evaluation.score_options import ScoreOptions
from ai_workflow.training.family_modules import rows_per_step

if TYPE_CHECKING:
    from ai_workflow.evaluation.report import ClassScores, GateReport, Scores, StableScores

_MAX_PROBLEMS = 5


class CrossValidationOptions(ConfigModel):
    """Number of folds, and how a model is trained on them; `batch_size` is None for a family without batches."""

    folds: int
    trainer: Trainer
    batch_size: int | None

    @classmethod
    def of(cls, settings: Settings) -> CrossValidationOptions | None:
        """Return the options of the settings; None if there is no cross-validation."""
        if (options := settings.evaluate.cross_validation) is None:
            return None
        rows = rows_per_step(settings.trainer.kind, settings.training_batch_size)
        return cls(folds=options.folds, trainer=settings.trainer, batch_size=rows)


class QualityGate(ConfigModel):
    """Conditions for a candidate: better than the baseline, at least `minimum`, within `tolerance` of `stable`.

    For an error metric (log_loss, mae, rmse, mape, quantile_loss, or one of own code) `minimum` is the largest
    value that passes.
    `per_class` has the minimum of a metric for each class, or for classes by name. The scores of `cross_validation` are
    in the card only; no condition depends on them.
    """

    metric: str
    minimum: float | None
    tolerance: float
    beat_baseline: bool = True
    scoring: ScoreOptions = score_options.DEFAULTS
    per_class: dict[str, float | dict[str, float]] = Field(default_factory=dict)
    cross_validation: CrossValidationOptions | None = None

    @classmethod
    def of(cls, settings: Settings) -> QualityGate:
        """Return the quality gate of the settings."""
        options = settings.evaluate
        judged = () if settings.metric in METRICS[settings.task] else (settings.metric,)
        own = tuple(dict.fromkeys((*options.metrics, *judged)))
        of_classes = tuple(name for name in options.per_class if name not in CLASS_METRICS)
        return cls(
            metric=settings.metric,
            minimum=options.minimum,
            tolerance=options.tolerance,
            beat_baseline=options.beat_baseline,
            scoring=ScoreOptions(
                positive_class=options.positive_class,
                quantile=options.quantile,
                threshold=options.threshold,
                own=own or None,
                own_per_class=of_classes or None,
            ),
            per_class=options.per_class,
            cross_validation=CrossValidationOptions.of(settings),
        )

    @property
    def own_metrics(self) -> tuple[str, ...]:
        """The metrics of own code that are computed."""
        return self.scoring.own or ()

    def check(self, classes: list[str] | None) -> None:
        """Check the options against the classes of the training rows, None for a regression.

        Raises:
            StageError: a class is not one of them, or an option needs two classes or a positive class.
        """
        for text in self.own_metrics:
            OwnMetric(text).check_classes(self.scoring.positive_name(classes))
        if classes is None:
            return
        positive = self.scoring.positive(classes)
        self.scoring.decision(classes)
        if self.metric in scores.OF_ONE_CLASS and positive is None:
            raise StageError(
                f"evaluate.metric {self.metric} is that of one class, and the target has {len(classes)}",
                f"Set evaluate.positive_class, or use {self.metric}_macro or {self.metric}_weighted",
            )
        named = {name for minimum in self.per_class.values() if isinstance(minimum, dict) for name in minimum}
        if unknown := sorted(named - set(classes)):
            raise StageError(
                f"evaluate.per_class has {unknown[0]!r}, no class of the training rows: {classes[:20]}",
                "Fix evaluate.per_class",
            )


def judge(
    candidate: Scores, gate: QualityGate, stable: StableScores | None, comparison: Comparison | None = None
) -> tuple[bool, str]:
    """Return whether the scores of the candidate pass the gate, and why.

    Args:
        candidate: scores of the candidate.
        gate: the conditions, which `QualityGate.check` accepts.
        stable: version and scores of the champion; None if there is none.
        comparison: the comparison with the baseline; None if there is none.
    """
    metric = scores.key(gate.metric)
    value = candidate[metric]
    if value is None:
        return False, f"{gate.metric} cannot be computed: {scores.undefined_reason(metric)}"
    if comparison and gate.beat_baseline and not comparison.beats:
        return False, f"{comparison.reason(value)} (evaluate.beat_baseline)"
    sign = 1 if scores.is_higher_better(metric) else -1
    if gate.minimum is not None and sign * value < sign * gate.minimum:
        side = "below the minimum" if sign > 0 else "above the most allowed"
        return False, f"{gate.metric} {scores.format_score(value)} is {side} {gate.minimum:g} (evaluate.minimum)"
    if problem := _class_problem(candidate.get("per_class", []), gate):
        return False, problem
    stable_value = stable["scores"].get(metric) if stable else None
    if stable is None or stable_value is None:
        return True, f"passes{_baseline_text(comparison, value)}"
    if sign * value < sign * stable_value - gate.tolerance:
        return False, (
            f"{gate.metric} {scores.format_score(value)} is worse than that of stable {stable['version']}, "
            f"{scores.format_score(stable_value)}, by more than {gate.tolerance:g} (evaluate.tolerance)"
        )
    stable_text = f", stable {stable['version']} has {scores.format_score(stable_value)}"
    return True, f"passes{_baseline_text(comparison, value)}{stable_text}"


def _class_problem(lines: list[ClassScores], gate: QualityGate) -> str:
    """Return the classes that miss their minimum as text; empty if there are none."""
    problems = []
    scored: dict[str, dict[str, Any]] = {line["class"]: {**line} for line in lines}
    for metric, minimum in gate.per_class.items():
        minima = minimum if isinstance(minimum, dict) else dict.fromkeys(scored, minimum)
        for name, least in minima.items():
            if not scored[name]["support"]:
                problems.append(f"no row held out is of class {name!r}, so its {metric} cannot be computed")
            elif scored[name][metric] < least:
                problems.append(
                    f"{metric} {scores.format_score(scored[name][metric])} of class {name!r} is below {least:g}"
                )
    more = f" and {len(problems) - _MAX_PROBLEMS} more" if len(problems) > _MAX_PROBLEMS else ""
    return f"{', '.join(problems[:_MAX_PROBLEMS])}{more} (evaluate.per_class)" if problems else ""


def _baseline_text(comparison: Comparison | None, value: float) -> str:
    if comparison is None:
        return ""
    if comparison.beats:
        return f", the baseline has {scores.format_score(comparison.value)}"
    return f", although {comparison.reason(value)} (evaluate.beat_baseline: false)"


def report(gate: QualityGate, comparison: Comparison, *, passed: bool, verdict: str) -> GateReport:
    """Return the section of the report about the gate."""
    return {
        "metric": gate.metric,
        "minimum": gate.minimum,
        "tolerance": gate.tolerance,
        "beat_baseline": gate.beat_baseline,
        "passed": passed,
        "verdict": verdict,
        "baseline": comparison.value,
        "beats_baseline": comparison.beats,
    }
