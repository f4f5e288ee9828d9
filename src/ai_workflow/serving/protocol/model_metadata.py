"""Model metadata of the Open Inference Protocol: input and output tensors of a version."""

from __future__ import annotations

from typing import Any, NotRequired, TypedDict

from ai_workflow.serving.protocol.oip import MATRIX
from ai_workflow.serving.protocol.tensors import COLUMN_TYPES
from ai_workflow.serving.routing.fallback_chain import FallbackChain
from ai_workflow.serving.routing.served_model import ServedModel


class TensorMetadata(TypedDict):
    """The metadata of a tensor; -1 in a shape stands for any number of rows."""

    name: str
    datatype: str
    shape: list[int]


class ModelMetadata(TypedDict):
    """The body of a response with model metadata."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]
    parameters: NotRequired[dict[str, Any]]


def metadata(pipeline: str, chain: FallbackChain, model: ServedModel | None) -> ModelMetadata:
    """Return the metadata of a version; without a loaded version, it has no tensors."""
    body: ModelMetadata = {
        "name": pipeline,
        "versions": [each.name for each in chain.models],
        "platform": "ai-workflow",
        "inputs": [],
        "outputs": [],
    }
    if model is None:
        return body
    loaded = model.loaded
    body["platform"] = f"ai-workflow_{loaded.kind}"
    columns = loaded.encoder.columns.items()
    body["inputs"] = [_tensor(name, COLUMN_TYPES[column.type], [-1]) for name, column in columns]
    body["outputs"] = [
        _tensor("prediction", "BYTES" if loaded.classes else "FP64", [-1]),
        _tensor("score", "FP64", [-1]),
    ]
    if loaded.classes:
        body["outputs"].append(_tensor("probabilities", "FP64", [-1, len(loaded.classes)]))
    names = [feature["name"] for feature in loaded.encoder.spec["features"]]
    body["parameters"] = {"version": model.name, "classes": loaded.classes}
    # Feature functions take columns, so a matrix of features cannot be sent to their version.
    if not loaded.has_functions:
        body["parameters"][MATRIX] = {"datatype": "FP32", "shape": [-1, loaded.feature_count], "names": names}
    return body


def _tensor(name: str, datatype: str, shape: list[int]) -> TensorMetadata:
    return {"name": name, "datatype": datatype, "shape": shape}
