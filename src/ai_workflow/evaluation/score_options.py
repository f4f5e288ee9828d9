"""Options of the metrics: the positive class, the quantile, the threshold, and metrics of own code."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ai_workflow.config.settings import ConfigModel
from ai_workflow.errors import StageError
from ai_workflow.evaluation import own_metrics

if TYPE_CHECKING:
    from ai_workflow.features.spec import FeatureSpec, Threshold
    from ai_workflow.registry.manifest import ScoringRecord


class ScoreOptions(ConfigModel):
    """Options of metrics: the class of precision, recall, f1 and average_precision; the level of quantile_loss.

    `own` has the metrics of own code, and `own_per_class` those of each class; None if there are none.
    """

    positive_class: str | None = None
    quantile: float = 0.5
    threshold: float | None = None
    own: tuple[str, ...] | None = None
    own_per_class: tuple[str, ...] | None = None

    def decision(self, classes: list[str]) -> Threshold | None:
        """Return the threshold of the positive class; None to predict the most probable class.

        Raises:
            StageError: there are more than two classes.
        """
        if self.threshold is None:
            return None
        positive = self.positive(classes)
        if len(classes) != 2 or positive is None:
            raise StageError(
                f"evaluate.threshold is for two classes, and there are {len(classes)}", "Remove evaluate.threshold"
            )
        return {"class_index": positive, "value": self.threshold}

    def positive(self, classes: list[str]) -> int | None:
        """Return the index of the positive class: by default the second of two, none of more.

        Raises:
            StageError: the training rows have no such class.
        """
        if self.positive_class is None:
            return 1 if len(classes) == 2 else None
        if self.positive_class not in classes:
            raise StageError(
                f"evaluate.positive_class {self.positive_class!r} is no class of the training rows: {classes[:20]}",
                "Fix evaluate.positive_class",
            )
        return classes.index(self.positive_class)

    def positive_name(self, classes: list[str] | None) -> str | None:
        """Return the name of the positive class; None if there is none."""
        positive = self.positive(classes) if classes else None
        return None if positive is None or classes is None else classes[positive]

    def record(self, spec: FeatureSpec) -> ScoringRecord:
        """Return the options that have an effect for the task of a feature spec."""
        classes = spec["classes"]
        record: ScoringRecord = {"positive_class": None, "quantile": None if classes else self.quantile}
        record["positive_class"] = self.positive_name(classes)
        if self.own:
            record["own"] = own_metrics.codes(self.own)
        return record


DEFAULTS = ScoreOptions()
