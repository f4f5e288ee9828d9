"""Mean absolute contribution of each column on a sample of the rows held out."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

from ai_workflow.errors import StageError
from ai_workflow.features import contribution_columns

if TYPE_CHECKING:
    import numpy as np

    from ai_workflow.features.spec import FeatureSpec
    from ai_workflow.training.contributions import Contributions

# SHAP values of a row take up to some hundred times as long as its prediction.
MIN_ROWS, MAX_ROWS = 50, 400
# Their time grows with the trees of a model: about 5 CPU seconds for this many bytes of model times rows.
_MODEL_BYTES = 1_400_000_000


class ColumnContribution(TypedDict):
    """Mean absolute contribution of a column, of all outputs of the model."""

    column: str
    mean_absolute: float


class ContributionReport(TypedDict):
    """Contributions of the columns, the largest first; `rows` is the number of rows in the sample."""

    rows: int
    columns: list[ColumnContribution]


class RowSample:
    """Every nth row of a sequence: all rows up to a maximum, otherwise more than half as many.

    The sample depends on the rows and their order only, not on the size of the blocks in which they are added.

    Args:
        model_bytes: size of the model file; the maximum is lower for a large one.
    """

    def __init__(self, model_bytes: int) -> None:
        self._max_rows = max(MIN_ROWS, min(MAX_ROWS, _MODEL_BYTES // max(1, model_bytes)))
        self._step, self._seen = 1, 0
        self._rows: list[np.ndarray] = []

    def add(self, x: np.ndarray) -> None:
        """Add (n, features) rows."""
        position = -self._seen % self._step
        while position < len(x):
            self._rows.append(x[position].copy())
            if len(self._rows) > self._max_rows:
                self._rows, self._step = self._rows[::2], 2 * self._step
            position = (self._seen + position) // self._step * self._step + self._step - self._seen
        self._seen += len(x)

    def matrix(self) -> np.ndarray:
        """Return the (n, features) rows of the sample."""
        import numpy as np

        return np.stack(self._rows)


def compute(explain: Contributions | None, sample: RowSample, spec: FeatureSpec) -> ContributionReport | None:
    """Return the contributions on a sample; None for a model without contributions.

    Raises:
        StageError: a contribution is not finite.
    """
    import numpy as np

    if explain is None:
        return None
    x = sample.matrix()
    values = explain(x).astype(np.float64).reshape(len(x), -1, x.shape[1] + 1)
    if not np.isfinite(values).all():
        raise StageError(
            f"contributions of the model for {len(x)} rows held out are not finite",
            "Correct the contributions of trainer.kind, or lower the learning rate in trainer.params",
        )
    columns = contribution_columns.features_of(spec)
    means = {name: float(np.abs(values[:, :, at].sum(axis=2)).mean()) for name, at in columns.items()}
    ranked = sorted(means, key=lambda name: (-means[name], name))
    # The last digits of a sum depend on the CPU.
    return {
        "rows": len(x),
        "columns": [{"column": name, "mean_absolute": float(f"{means[name]:.6g}")} for name in ranked],
    }
