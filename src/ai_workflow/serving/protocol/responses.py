"""What a caller is told: predictions by the version that answered, or the default response."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ai_workflow.serving.protocol.tensors import Output
from ai_workflow.serving.routing.fallback_chain import Answered

DEFAULT = "default"


@dataclass(slots=True, eq=False)
class Reply:
    """An answer in words.

    Args:
        version: the version that answered, or `default`.
        predictions: for each row the predicted class or value; None for a default that names none.
        scores: for each row the probability of the predicted class, or the value; None for a default.
        answered: how it came about.
    """

    version: str
    predictions: list[Any]
    scores: list[float | None]
    answered: Answered

    @property
    def is_default(self) -> bool:
        """Whether no version answered."""
        return self.answered.slot is None


def reply(answered: Answered, rows: int, default: Mapping[str, Any]) -> Reply:
    """Return the predictions of an answer, or as often the default response."""
    slot, values = answered.slot, answered.values
    if slot is None:
        return Reply(DEFAULT, [default.get("prediction")] * rows, [default.get("score")] * rows, answered)
    classes = slot.loaded.classes
    if classes is None:
        return Reply(slot.name, list(values), list(values), answered)
    width = len(classes)
    predictions, scores = [], []
    for at in range(0, rows * width, width):
        row = values[at : at + width]
        best = max(row)
        predictions.append(classes[row.index(best)])
        scores.append(best)
    return Reply(slot.name, predictions, list(scores), answered)


def in_words(found: Reply, stem: str, trace_id: str, default: Mapping[str, Any]) -> dict[str, Any]:
    """Return the body of an answer of `POST /predict`."""
    if found.is_default:
        predictions = [{**default, "prediction_id": f"{stem}-{row}"} for row in range(len(found.predictions))]
    else:
        predictions = [
            {"prediction": prediction, "score": score, "prediction_id": f"{stem}-{row}"}
            for row, (prediction, score) in enumerate(zip(found.predictions, found.scores, strict=True))
        ]
    return {
        "predictions": predictions,
        "model_version": found.version,
        "fallback": found.answered.fell_back,
        "fallback_reason": found.answered.reasons,
        "trace_id": trace_id,
    }


def outputs(is_regression: bool) -> tuple[str, ...]:
    """Return the names of the outputs."""
    return ("prediction", "score") if is_regression else ("prediction", "score", "probabilities")


def tensors(found: Reply, is_regression: bool) -> list[Output]:
    """Return the outputs of an inference request; a default response has no probabilities, and may have no numbers."""
    rows, slot = len(found.predictions), found.answered.slot
    made = [
        Output("prediction", "FP64", [rows], found.predictions)
        if is_regression
        else Output("prediction", "BYTES", [rows], _texts(found.predictions)),
        Output("score", "FP64", [rows], found.scores),
    ]
    if slot is not None and slot.loaded.classes is not None:
        width = len(slot.loaded.classes)
        made.append(Output("probabilities", "FP64", [rows, width], list(found.answered.values)))
    return made


def _texts(values: Sequence[Any]) -> list[str | None]:
    return [None if value is None else str(value) for value in values]


def in_protocol(found: Reply, stem: str, trace_id: str, model: str, request_id: str | None) -> dict[str, Any]:
    """Return the body of an inference response, but for its outputs."""
    reasons = found.answered.reasons
    return {
        "model_name": model,
        "model_version": found.version,
        **({"id": request_id} if request_id is not None else {}),
        "parameters": {
            "fallback": found.answered.fell_back,
            **({"fallback_reason": reasons} if reasons is not None else {}),
            "trace_id": trace_id,
            "prediction_id": stem,
        },
    }
