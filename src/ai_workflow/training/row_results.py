"""Results that own code returns for rows: their check, and calls with the same number of rows each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ai_workflow.errors import StageError
from ai_workflow.plugins import objects

if TYPE_CHECKING:
    import numpy as np

# Rows per call: a BLAS may sum in another order for another number of rows, and batch and service must agree.
_TILE_ROWS = 16


@dataclass(frozen=True, slots=True)
class RowResults:
    """Numbers that own code returns for rows: names of the call and of the result, dimensions, and the remedy."""

    call: str
    name: str
    dimensions: tuple[int, ...]
    remedy: str

    def compute(self, label: str, function: Callable[[np.ndarray], np.ndarray], x: np.ndarray) -> np.ndarray:
        """Return the results, one entry or line for each row.

        Raises:
            StageError: the code raises, or returns something else.
        """
        import numpy as np

        with objects.calls(label, self.call):
            output = np.asarray(function(x))
        if output.ndim not in self.dimensions or len(output) != len(x) or output.dtype.kind not in "fiu":
            raise StageError(
                f"{label}: the {self.name} for {len(x)} rows: {output.dtype} of shape {output.shape}", self.remedy
            )
        return output


PREDICTIONS = RowResults(
    "the prediction", "prediction", (1, 2), "Return (n, classes) probabilities, or (n,) values for a regression"
)
CONTRIBUTIONS = RowResults(
    "contributions",
    "contributions",
    (2, 3),
    "Return (n, classes, features + 1), or (n, features + 1) for a regression; the base value is last",
)


def in_tiles(
    work: Callable[[str, Callable[[np.ndarray], np.ndarray], np.ndarray], np.ndarray],
    label: str,
    function: Callable[[np.ndarray], np.ndarray],
    x: np.ndarray,
) -> np.ndarray:
    """Return the results of own code for all rows, from calls with the same number of rows each."""
    import numpy as np

    padded = np.zeros((max(1, -(-len(x) // _TILE_ROWS)) * _TILE_ROWS, x.shape[1]), dtype=x.dtype)
    padded[: len(x)] = x
    starts = range(0, len(padded), _TILE_ROWS)
    parts = [work(label, function, padded[start : start + _TILE_ROWS]) for start in starts]
    return np.concatenate(parts)[: len(x)]
