"""Records of the prediction log: one for each request, with one line for each row."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NotRequired, TypedDict

import orjson

from ai_workflow.inference import prediction_columns
from ai_workflow.serving.protocol import json_body
from ai_workflow.serving.protocol.http_types import Request
from ai_workflow.serving.protocol.inputs import InferenceInput
from ai_workflow.serving.protocol.responses import InferenceResult
from ai_workflow.serving.routing.fallback_chain import FallbackChain


class PredictionLine(TypedDict):
    """A line of the prediction log; `values` is the raw row."""

    prediction_id: str
    id: Any
    row: int
    time: float
    prediction: Any
    score: float | None
    model_version: str
    fallback_reason: str | None
    trace_id: str
    features: str | None
    id_column: NotRequired[str]
    probabilities: NotRequired[dict[str, float]]
    values: NotRequired[Mapping[str, Any]]


@dataclass(slots=True)
class PredictionRecord:
    """One request that got predictions.

    Args:
        timestamp: seconds since 1970.
        trace_id: the trace of the request.
        request_id: the ID that its prediction IDs start with.
        version: the version that served it, or `default`.
        reasons: why earlier versions of the fallback chain failed, if so.
        predictions: predicted class or value of each row.
        scores: score of each row.
        rows: the raw rows, if the request has them.
        features: float32 (rows, features) for the first version; None if it could not encode them.
        is_small: whether its lines may be built on the event loop.
        request_bytes: size of the request.
        read_id: returns the ID of a row as the version reads it; None: it is kept as received.
        probabilities: probability of each class, row after row.
        probability_columns: the columns of the probabilities of a row.
    """

    timestamp: float
    trace_id: str
    request_id: str
    version: str
    reasons: str | None
    predictions: Sequence[Any]
    scores: Sequence[float | None]
    rows: Sequence[dict[str, Any]] | None
    features: bytes | None
    is_small: bool = True
    request_bytes: int = 0
    read_id: Callable[[str, Any], str | None] | None = None
    probabilities: Sequence[float] = ()
    probability_columns: Sequence[str] = ()

    @property
    def memory_bytes(self) -> int:
        """Approximate size in memory."""
        return self.request_bytes + len(self.features or b"") + 8 * len(self.probabilities)

    def row_id(self, row: Mapping[str, Any], column: str) -> Any:
        """Return the ID of a row as the scoring flow stores it."""
        return self.read_id(column, row.get(column)) if self.read_id is not None else row.get(column)

    def row_probabilities(self, row: int) -> dict[str, float]:
        """Return the probabilities of a row by column."""
        width = len(self.probability_columns)
        values = self.probabilities[row * width : (row + 1) * width]
        return dict(zip(self.probability_columns, map(float, values), strict=True))

    def to_lines(self, id_column: str | None, *, with_values: bool) -> bytes:
        """Return the lines of the rows.

        Args:
            id_column: the column with the ID of a row, if any.
            with_values: whether raw rows are logged.
        """
        width = len(self.features or b"") // len(self.predictions)
        own_id = prediction_columns.of_id(id_column)
        lines = []
        for row, (prediction, score) in enumerate(zip(self.predictions, self.scores, strict=True)):
            raw_row = self.rows[row] if self.rows else None
            features = (self.features or b"")[row * width : (row + 1) * width]
            line: PredictionLine = {
                "prediction_id": f"{self.request_id}-{row}",
                "id": self.row_id(raw_row, id_column) if raw_row and id_column else None,
                "row": row,
                "time": self.timestamp,
                "prediction": prediction,
                "score": score,
                "model_version": self.version,
                "fallback_reason": self.reasons,
                "trace_id": self.trace_id,
                "features": hashlib.blake2b(features).hexdigest()[:32] if width else None,
            }
            # In each line, because the compaction reads only the segment.
            if own_id:
                line["id_column"] = own_id
            if self.probability_columns:
                line["probabilities"] = self.row_probabilities(row)
            if with_values and raw_row is not None:
                line["values"] = raw_row
            lines.append(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE | orjson.OPT_NON_STR_KEYS))
        return b"".join(lines)


def create(
    rows: InferenceInput,
    chain: FallbackChain,
    request: Request,
    result: InferenceResult,
    request_id: str,
    encoded: Mapping[str, bytes | None],
) -> PredictionRecord:
    """Return the record of a request.

    Args:
        rows: the input.
        chain: the fallback chain of the request; its first version encoded the logged features.
        request: the request.
        result: its predictions.
        request_id: the ID that its prediction IDs start with.
        encoded: the rows by encoding.
    """
    first, model = chain.first, result.chain_result.model
    columns = prediction_columns.of_classes(model.loaded.classes) if model is not None else []
    return PredictionRecord(
        timestamp=time.time(),
        trace_id=request.trace_id,
        request_id=request_id,
        version=result.version,
        reasons=result.chain_result.reasons,
        predictions=result.predictions,
        scores=result.scores,
        rows=rows.raw_rows(),
        features=encoded.get(first.loaded.encoding_id) if first else None,
        is_small=len(request.body) <= json_body.SMALL_BYTES,
        request_bytes=len(request.body),
        read_id=first.loaded.encoder.reader.row_id if first else None,
        probabilities=result.chain_result.values if columns else (),
        probability_columns=columns,
    )
