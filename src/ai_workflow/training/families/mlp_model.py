"""A multilayer perceptron as a file, and its answers by NumPy alone: to serve one takes no PyTorch.

The file is in the safetensors format (https://github.com/huggingface/safetensors#format), written here because that
is shorter than to depend on a library whose files need not be the same bytes twice:

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
from ai_workflow.training.feature_inputs import Inputs

if TYPE_CHECKING:
    from ai_workflow.training.protocol import Predict

# Rows that are answered at once. Each product of matrices within has `_TILE` rows, however large the block is: a BLAS
# may add up in another order for another shape, and the answer to a row must not depend on the rows beside it.
_BLOCK = 128
_TILE = 16
_REMEDY = f"{memory_pressure.MORE_MEMORY}, or train a smaller network: trainer.params.hidden"
_TYPES = {"F32": "<f4", "F64": "<f8"}


def load(model: bytes) -> Predict:
    """Return the answering function of a model file.

    Raises:
        ValueError: it is not such a file.
    """
    tensors, about = unpacked(model)
    inputs = Inputs(about["numeric"], tensors["mean"], tensors["scale"], about["categories"])
    layers = [(tensors[f"layer{n}.weight"].T, tensors[f"layer{n}.bias"]) for n in range(about["layers"])]
    blocks = memory_pressure.BatchSplitter(_BLOCK, _TILE, _REMEDY)

    def forward(x: np.ndarray) -> np.ndarray:
        tiles = max(1, math.ceil(len(x) / _TILE))
        padded = np.full((tiles * _TILE, x.shape[1]), np.nan, dtype=np.float32)
        padded[: len(x)] = x
        values = inputs.encode(padded).reshape(tiles, _TILE, inputs.width)
        for number, (weight, bias) in enumerate(layers):
            if number:
                np.maximum(values, 0, out=values)
            values = values @ weight
            values += bias
        return _answers(values.reshape(tiles * _TILE, -1).astype(np.float64), about)[: len(x)]

    return lambda x: np.concatenate(blocks.each(len(x), lambda start, end: forward(x[start:end])))


def _answers(out: np.ndarray, about: dict[str, Any]) -> np.ndarray:
    if about["task"] == "regression":
        return np.asarray(out[:, 0] * about["target_scale"] + about["target_mean"])
    power = np.exp(out - out.max(axis=1, keepdims=True))
    return np.asarray(power / power.sum(axis=1, keepdims=True))


def packed(tensors: dict[str, np.ndarray], about: dict[str, Any]) -> bytes:
    """Return tensors (float32 or float64) and what else is to be known as a safetensors file, always the same bytes."""
    names = {np.dtype(form): name for name, form in _TYPES.items()}
    header: dict[str, Any] = {"__metadata__": {"model": json_text.line(about, ensure_ascii=True)}}
    data = b""
    for name, tensor in sorted(tensors.items()):
        place = [len(data), len(data) + tensor.nbytes]
        header[name] = {"dtype": names[tensor.dtype], "shape": list(tensor.shape), "data_offsets": place}
        data += tensor.tobytes()
    text = json_text.line(header, sort_keys=False, ensure_ascii=True, compact=True).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + data


def unpacked(model: bytes) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Return what `packed` was given.

    Raises:
        ValueError: it is not such a file.
    """
    try:
        (size,) = struct.unpack_from("<Q", model)
        header, data = json.loads(model[8 : 8 + size]), memoryview(model)[8 + size :]
        about: dict[str, Any] = json.loads(header.pop("__metadata__")["model"])
        tensors = {
            name: np.frombuffer(data[slice(*each["data_offsets"])], _TYPES[each["dtype"]]).reshape(each["shape"])
            for name, each in header.items()
        }
    except (struct.error, KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise ValueError(f"not the safetensors file of a multilayer perceptron: {error}") from error
    return tensors, about
