"""What a caller is told: predictions by the version that chain_result, or the default response."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ai_workflow.serving.protocol.tensors import OutputTensor
from ai_workflow.serving.routing.fallback_chain import ChainResult

DEFAULT = "default"


@dataclass(slots=True, eq=False)
class InferenceResult:
    """An answer in words.

    Args:
        version: the version that chain_result, or `default`.
        predictions: for each row the predicted class or value; None for a default that names none.
        scores: for each row the probability of the predicted class, or the value; None for a default.
        chain_result: how it came about.
    """

    version: str
    predictions: list[Any]
    scores: list[float | None]
    chain_result: ChainResult

    @property
    def is_default(self) -> bool:
        """Whether no version chain_result."""
        return self.chain_result.model is None


def to_result(chain_result: ChainResult, rows: int, default: Mapping[str, Any]) -> InferenceResult:
    """Return the predictions of an answer, or as often the default response."""
    model, values = chain_result.model, chain_result.values
    if model is None:
        return InferenceResult(DEFAULT, [default.get("prediction")] * rows, [default.get("score")] * rows, chain_result)
    classes = model.loaded.classes
    if classes is None:
        return InferenceResult(model.name, list(values), list(values), chain_result)
    width = len(classes)
    predictions, scores = [], []
    for at in range(0, rows * width, width):
        row = values[at : at + width]
        best = max(row)
        predictions.append(classes[row.index(best)])
        scores.append(best)
    return InferenceResult(model.name, predictions, list(scores), chain_result)


def to_json(result: InferenceResult, stem: str, trace_id: str, default: Mapping[str, Any]) -> dict[str, Any]:
    """Return the body of an answer of `POST /predict`."""
    if result.is_default:
        predictions = [{**default, "prediction_id": f"{stem}-{row}"} for row in range(len(result.predictions))]
    else:
        predictions = [
            {"prediction": prediction, "score": score, "prediction_id": f"{stem}-{row}"}
            for row, (prediction, score) in enumerate(zip(result.predictions, result.scores, strict=True))
        ]
    return {
        "predictions": predictions,
        "model_version": result.version,
        "fallback": result.chain_result.is_fallback,
        "fallback_reason": result.chain_result.reasons,
        "trace_id": trace_id,
    }


def output_names(is_regression: bool) -> tuple[str, ...]:
    """Return the names of the outputs."""
    return ("prediction", "score") if is_regression else ("prediction", "score", "probabilities")


def output_tensors(result: InferenceResult, is_regression: bool) -> list[OutputTensor]:
    """Return the outputs of an inference request; a default response has no probabilities, and may have no numbers."""
    rows, model = len(result.predictions), result.chain_result.model
    made = [
        OutputTensor("prediction", "FP64", [rows], result.predictions)
        if is_regression
        else OutputTensor("prediction", "BYTES", [rows], _texts(result.predictions)),
        OutputTensor("score", "FP64", [rows], result.scores),
    ]
    if model is not None and model.loaded.classes is not None:
        width = len(model.loaded.classes)
        made.append(OutputTensor("probabilities", "FP64", [rows, width], list(result.chain_result.values)))
    return made


def _texts(values: Sequence[Any]) -> list[str | None]:
    return [None if value is None else str(value) for value in values]


def to_oip(result: InferenceResult, stem: str, trace_id: str, model: str, request_id: str | None) -> dict[str, Any]:
    """Return the body of an inference response, but for its outputs."""
    reasons = result.chain_result.reasons
    return {
        "model_name": model,
        "model_version": result.version,
        **({"id": request_id} if request_id is not None else {}),
        "parameters": {
            "fallback": result.chain_result.is_fallback,
            **({"fallback_reason": reasons} if reasons is not None else {}),
            "trace_id": trace_id,
            "prediction_id": stem,
        },
    }
