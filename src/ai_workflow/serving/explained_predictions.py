"""`POST /predict?explain=1`: the predictions of a request, and the contributions of its columns to each of them.

The predictions are those of the same request without `explain`. The version that answered then computes the
contributions of one row after another in its process, so that other requests are served between two rows. Without
time left, or if that fails, the rows have predictions without contributions.
"""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import parse_qs

from ai_workflow.features import contribution_columns
from ai_workflow.features.row_encoder import InvalidRowsError
from ai_workflow.serving.attempt_metrics import FailureReason
from ai_workflow.serving.protocol.responses import Explanation, InferenceResult
from ai_workflow.serving.routing.served_model import ServedModel

# Rows of a request with contributions, each of which takes up to some hundred times as long as its prediction.
MAX_ROWS = 100
_NAME = "explain"


def is_requested(query: bytes) -> bool:
    """Return whether the query of a URL requests contributions.

    Raises:
        InvalidRowsError: `explain` has another value than 0 or 1, or more than one.
    """
    if _NAME.encode() not in query:
        return False
    values = parse_qs(query.decode("latin-1"), keep_blank_values=True).get(_NAME, ["0"])
    if values not in (["0"], ["1"]):
        raise InvalidRowsError(f"the query parameter explain has the value {','.join(values)[:50]!r}. Send explain=1")
    return values == ["1"]


def check(row_count: int, first: ServedModel | None) -> None:
    """Raise InvalidRowsError for too many rows, or if the first version of the chain has no contributions."""
    if row_count > MAX_ROWS:
        raise InvalidRowsError(f"{row_count} rows are more than {MAX_ROWS}, the limit of a request with explain=1")
    if first is not None and not first.explanations.is_supported:
        raise InvalidRowsError(f"{_no_contributions(first)}. Send the request without explain=1")


async def explain(
    model: ServedModel, encoded: bytes, result: InferenceResult, deadline: float
) -> tuple[list[Explanation], str | None]:
    """Return the explanations of the first rows, and why others have none.

    Args:
        model: the version that predicted the rows.
        encoded: the rows, float32 (rows, features).
        result: the predictions.
        deadline: in the time of the event loop.
    """
    if not model.explanations.is_supported:
        return [], _no_contributions(model)
    columns = contribution_columns.features_of(model.loaded.encoder.spec)
    explanations: list[Explanation] = []
    width = len(encoded) // len(result.predictions)
    for row, output in enumerate(_outputs(model, result)):
        if model.explanations.is_suspended:
            return explanations, f"{model.name}: contributions are suspended after a fault"
        values = await model.explain(encoded[row * width : (row + 1) * width], deadline)
        if isinstance(values, FailureReason):
            return explanations, f"{model.name}: {values.value}"
        explanations.append(_explanation(values, output, columns, model.loaded.output_count))
    return explanations, None


def _outputs(model: ServedModel, result: InferenceResult) -> Sequence[int]:
    """Return the index of the output that each prediction has: that of the predicted class."""
    classes = model.loaded.classes
    if classes is None:
        return [0] * len(result.predictions)
    return [classes.index(prediction) for prediction in result.predictions]


def _explanation(values: Sequence[float], output: int, columns: dict[str, list[int]], outputs: int) -> Explanation:
    size = len(values) // outputs
    of_output = values[output * size : (output + 1) * size]
    return Explanation(contribution_columns.sums(of_output, columns), of_output[-1])


def _no_contributions(model: ServedModel) -> str:
    return f"{model.name} has no contributions: its model family {model.loaded.kind} does not compute them"
