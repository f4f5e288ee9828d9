"""Inference results: predictions of the version that served the request, or the default response."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NotRequired, TypedDict

from ai_workflow.features.decision import predicted_class
from ai_workflow.serving.protocol.tensors import OutputTensor
from ai_workflow.serving.routing.fallback_chain import ChainResult

DEFAULT = "default"


@dataclass(slots=True, eq=False)
class InferenceResult:
    """The predictions for the rows of a request.

    Args:
        version: the version that served the request, or `default`.
        predictions: predicted class or value of each row; None if the default response has none.
        scores: probability of the predicted class, or the value, of each row; None for a default response.
        chain_result: the outcome of the fallback chain.
    """

    version: str
    predictions: list[Any]
    scores: list[float | None]
    chain_result: ChainResult

    @property
    def is_default(self) -> bool:
        """Whether all versions failed."""
        return self.chain_result.model is None


class PredictBody(TypedDict):
    """The body of a response to `POST /predict`; a prediction also has the keys of the default response."""

    predictions: list[dict[str, Any]]
    model_version: str
    fallback: bool
    fallback_reason: str | None
    trace_id: str


class OipBody(TypedDict):
    """The body of an inference response without its outputs."""

    model_name: str
    model_version: str
    id: NotRequired[str]
    parameters: dict[str, bool | str]


def to_result(chain_result: ChainResult, row_count: int, default: Mapping[str, Any]) -> InferenceResult:
    """Return the predictions of a version, or the default response for each row."""
    model, values = chain_result.model, chain_result.values
    if model is None:
        predictions = [default.get("prediction")] * row_count
        return InferenceResult(DEFAULT, predictions, [default.get("score")] * row_count, chain_result)
    classes = model.loaded.classes
    if classes is None:
        return InferenceResult(model.name, list(values), list(values), chain_result)
    width, threshold = len(classes), model.loaded.threshold
    names, scores = [], []
    for start in range(0, row_count * width, width):
        probabilities = values[start : start + width]
        index = predicted_class(probabilities, threshold)
        names.append(classes[index])
        scores.append(probabilities[index])
    return InferenceResult(model.name, names, list(scores), chain_result)


def to_json(result: InferenceResult, request_id: str, trace_id: str, default: Mapping[str, Any]) -> PredictBody:
    """Return the body of a response to `POST /predict`."""
    if result.is_default:
        predictions = [{**default, "prediction_id": f"{request_id}-{row}"} for row in range(len(result.predictions))]
    else:
        predictions = [
            {"prediction": prediction, "score": score, "prediction_id": f"{request_id}-{row}"}
            for row, (prediction, score) in enumerate(zip(result.predictions, result.scores, strict=True))
        ]
    return {
        "predictions": predictions,
        "model_version": result.version,
        "fallback": result.chain_result.is_fallback,
        "fallback_reason": result.chain_result.reasons,
        "trace_id": trace_id,
    }


@dataclass(slots=True)
class Explanation:
    """Contributions of the columns to the raw score of a prediction, which they and the base value add up to."""

    contributions: dict[str, float]
    base_value: float


def add_explanations(body: PredictBody, explanations: Sequence[Explanation], problem: str | None) -> dict[str, Any]:
    """Return a body with the explanations of its first predictions, and why the others have none.

    Args:
        body: the body of a response to `POST /predict`.
        explanations: those of the first predictions.
        problem: the reason if there are fewer than predictions.
    """
    predictions: list[dict[str, Any]] = []
    for row, prediction in enumerate(body["predictions"]):
        found = explanations[row] if row < len(explanations) else None
        contributions = found.contributions if found else None
        base_value = found.base_value if found else None
        predictions.append({**prediction, "contributions": contributions, "base_value": base_value})
    return {**body, "predictions": predictions, "explanation_error": problem}


def output_names(is_regression: bool) -> tuple[str, ...]:
    """Return the names of the output tensors."""
    return ("prediction", "score") if is_regression else ("prediction", "score", "probabilities")


def output_tensors(result: InferenceResult, is_regression: bool) -> list[OutputTensor]:
    """Return the output tensors; a default response has no probabilities, and may lack predictions and scores."""
    row_count, model = len(result.predictions), result.chain_result.model
    tensors = [
        OutputTensor("prediction", "FP64", [row_count], result.predictions)
        if is_regression
        else OutputTensor("prediction", "BYTES", [row_count], _texts(result.predictions)),
        OutputTensor("score", "FP64", [row_count], result.scores),
    ]
    if model is not None and model.loaded.classes is not None:
        shape = [row_count, len(model.loaded.classes)]
        tensors.append(OutputTensor("probabilities", "FP64", shape, list(result.chain_result.values)))
    return tensors


def _texts(values: Sequence[Any]) -> list[str | None]:
    return [None if value is None else str(value) for value in values]


def to_oip(result: InferenceResult, request_id: str, trace_id: str, model: str, client_id: str | None) -> OipBody:
    """Return the body of an inference response without its outputs.

    Args:
        result: the predictions.
        request_id: the ID that the prediction IDs start with.
        trace_id: the trace of the request.
        model: the name of the model, which is the pipeline.
        client_id: the `id` of the request, if any.
    """
    reasons = result.chain_result.reasons
    body: OipBody = {
        "model_name": model,
        "model_version": result.version,
        "parameters": {
            "fallback": result.chain_result.is_fallback,
            **({"fallback_reason": reasons} if reasons is not None else {}),
            "trace_id": trace_id,
            "prediction_id": request_id,
        },
    }
    return {**body, "id": client_id} if client_id is not None else body
