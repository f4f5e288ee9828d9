"""Model file of a multilayer perceptron, and its prediction by NumPy: serving does not need PyTorch.

The file is in the safetensors format (https://github.com/huggingface/safetensors#format). It is written here, because
the library does not guarantee equal bytes for equal tensors:

    8 bytes: length of the header, little endian
    header:  JSON {"__metadata__": {"model": JSON text}, name: {"dtype", "shape", "data_offsets"}}
    tensors: one after another, in the order of their names
"""

from __future__ import annotations

import json
import math
import struct
from typing import TYPE_CHECKING, Any

import numpy as np

from ai_workflow import json_text
from ai_workflow.runtime import memory_pressure
from ai_workflow.training.feature_inputs import FeatureEncoder

if TYPE_CHECKING:
    from ai_workflow.training.protocol import Predict

# Rows per call. Each matrix product has `_TILE_ROWS` rows: a BLAS may sum in another order for another shape, and the
# prediction for a row must not depend on other rows.
_BLOCK_ROWS = 128
_TILE_ROWS = 16
_REMEDY = f"{memory_pressure.MORE_MEMORY}, or train a smaller network: trainer.params.hidden"
_TYPES = {"F32": "<f4", "F64": "<f8"}


def load(model: bytes) -> Predict:
    """Return the predict function of a model file.

    Raises:
        ValueError: the file is not of this format.
    """
    tensors, metadata = deserialize(model)
    encoder = FeatureEncoder(metadata["numeric"], tensors["mean"], tensors["scale"], metadata["categories"])
    layers = [(tensors[f"layer{n}.weight"].T, tensors[f"layer{n}.bias"]) for n in range(metadata["layers"])]
    blocks = memory_pressure.BatchSplitter(_BLOCK_ROWS, _TILE_ROWS, _REMEDY)

    def forward(x: np.ndarray) -> np.ndarray:
        tiles = max(1, math.ceil(len(x) / _TILE_ROWS))
        padded = np.full((tiles * _TILE_ROWS, x.shape[1]), np.nan, dtype=np.float32)
        padded[: len(x)] = x
        values = encoder.encode(padded).reshape(tiles, _TILE_ROWS, encoder.width)
        for number, (weight, bias) in enumerate(layers):
            if number:
                np.maximum(values, 0, out=values)
            values = values @ weight
            values += bias
        return _to_predictions(values.reshape(tiles * _TILE_ROWS, -1).astype(np.float64), metadata)[: len(x)]

    return lambda x: np.concatenate(blocks.each(len(x), lambda start, end: forward(x[start:end])))


def _to_predictions(out: np.ndarray, metadata: dict[str, Any]) -> np.ndarray:
    if metadata["task"] == "regression":
        return np.asarray(out[:, 0] * metadata["target_scale"] + metadata["target_mean"])
    power = np.exp(out - out.max(axis=1, keepdims=True))
    return np.asarray(power / power.sum(axis=1, keepdims=True))


def serialize(tensors: dict[str, np.ndarray], metadata: dict[str, Any]) -> bytes:
    """Return tensors (float32 or float64) and metadata as a safetensors file; equal input gives equal bytes."""
    names = {np.dtype(form): name for name, form in _TYPES.items()}
    header: dict[str, Any] = {"__metadata__": {"model": json_text.line(metadata, ensure_ascii=True)}}
    data = b""
    for name, tensor in sorted(tensors.items()):
        offsets = [len(data), len(data) + tensor.nbytes]
        header[name] = {"dtype": names[tensor.dtype], "shape": list(tensor.shape), "data_offsets": offsets}
        data += tensor.tobytes()
    text = json_text.line(header, sort_keys=False, ensure_ascii=True, compact=True).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + data


def deserialize(model: bytes) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Return the tensors and the metadata of a file.

    Raises:
        ValueError: the file is not of this format.
    """
    try:
        (size,) = struct.unpack_from("<Q", model)
        header, data = json.loads(model[8 : 8 + size]), memoryview(model)[8 + size :]
        metadata: dict[str, Any] = json.loads(header.pop("__metadata__")["model"])
        tensors = {
            name: np.frombuffer(data[slice(*entry["data_offsets"])], _TYPES[entry["dtype"]]).reshape(entry["shape"])
            for name, entry in header.items()
        }
    except (struct.error, KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise ValueError(f"not the safetensors file of a multilayer perceptron: {error}") from error
    return tensors, metadata
