"""Weights of training rows: of a column, of their classes, or the product of both."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ai_workflow.config import settings
from ai_workflow.errors import StageError

if TYPE_CHECKING:
    import numpy as np

    from ai_workflow.features.spec import FeatureSpec


@dataclass(frozen=True)
class Weighting:
    """Weights of rows by class index and by the values of a column.

    Args:
        classes: (classes,) weight of each class; None for a weight of 1.
        column: name of the column with the weights of the rows, if there is one.
        scale: factor of all weights.
    """

    classes: np.ndarray | None
    column: str | None
    scale: float = 1.0

    def weights(self, y: np.ndarray, values: np.ndarray | None) -> np.ndarray:
        """Return (n,) weights.

        Args:
            y: (n,) class index or value.
            values: (n,) values of the column.
        """
        import numpy as np

        weights = np.full(len(y), self.scale)
        if self.classes is not None:
            weights *= self.classes[y.astype("int64")]
        return weights if values is None else weights * values


def of(options: settings.Trainer, spec: FeatureSpec, column: str) -> Weighting | None:
    """Return the weighting of the options; None if rows have no weights.

    `balanced` weighs a class by rows / (classes * rows of the class), as scikit-learn does.

    Args:
        options: settings of the trainer.
        spec: the feature spec.
        column: the column of the features with the weights of `trainer.weight`.

    Raises:
        StageError: the training rows have no class of `trainer.class_weights`.
    """
    import numpy as np

    if options.weight is None and options.class_weights is None:
        return None
    classes = None
    if options.class_weights is not None and spec["classes"] is not None:
        counts = dict(spec["statistics"][spec["target"]]["counts"])
        rows = np.array([counts[name] for name in spec["classes"]], dtype=float)
        given = {} if options.class_weights == "balanced" else options.class_weights
        if unknown := [name for name in given if name not in spec["classes"]]:
            raise StageError(
                f"trainer.class_weights has {unknown[0]!r}, no class of the training rows: {spec['classes'][:20]}",
                "Fix trainer.class_weights",
            )
        classes = (
            rows.sum() / (len(rows) * rows)
            if options.class_weights == "balanced"
            else np.array([given.get(name, 1.0) for name in spec["classes"]])
        )
    return Weighting(classes, column if options.weight else None)
