"""A multilayer perceptron as a file, and its answers by NumPy alone: to serve one takes no PyTorch.

The file is in the safetensors format (https://github.com/huggingface/safetensors#format), written here because that
is shorter than to depend on a library whose files need not be the same bytes twice:

    8 bytes: length of the header, little endian
    header:  JSON {"__metadata__": {"model": JSON text}, name: {"dtype", "shape", "data_offsets"}}
    tensors: one after another, in the order of their names
"""

from __future__ import annotations

import json
import struct
from typing import TYPE_CHECKING, Any

import numpy as np

from ai_workflow import json_text
from ai_workflow.trainers.inputs import Inputs

if TYPE_CHECKING:
    from ai_workflow.trainers import Predict

# Every block has as many rows, so that the answer to a row does not depend on how many were asked beside it.
_BLOCK = 128
_TYPES = {"F32": "<f4", "F64": "<f8"}


def load(model: bytes) -> Predict:
    """Return the answering function of a model file.

    Raises:
        ValueError: it is not such a file.
    """
    tensors, about = unpacked(model)
    inputs = Inputs(about["numeric"], tensors["mean"], tensors["scale"], about["categories"])
    layers = [(tensors[f"layer{n}.weight"].T, tensors[f"layer{n}.bias"]) for n in range(about["layers"])]

    def forward(x: np.ndarray) -> np.ndarray:
        padded = np.full((_BLOCK, x.shape[1]), np.nan, dtype=np.float32)
        padded[: len(x)] = x
        values = inputs.encode(padded)
        for number, (weight, bias) in enumerate(layers):
            values = (np.maximum(values, 0) if number else values) @ weight + bias
        return _answers(values.astype(np.float64), about)[: len(x)]

    return lambda x: np.concatenate([forward(x[at : at + _BLOCK]) for at in range(0, max(len(x), 1), _BLOCK)])


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
        header, data = json.loads(model[8 : 8 + size]), model[8 + size :]
        about: dict[str, Any] = json.loads(header.pop("__metadata__")["model"])
        tensors = {
            name: np.frombuffer(data[slice(*each["data_offsets"])], _TYPES[each["dtype"]]).reshape(each["shape"])
            for name, each in header.items()
        }
    except (struct.error, KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise ValueError(f"not the safetensors file of a multilayer perceptron: {error}") from error
    return tensors, about
