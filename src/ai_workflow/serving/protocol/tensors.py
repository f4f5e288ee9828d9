"""Tensors of the Open Inference Protocol: datatypes and their binary form.

https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ai_workflow.features.row_encoder import InvalidRowsError
from ai_workflow.serving.protocol.json_body import quoted

NUMBER_FORMATS = {
    "BOOL": "?", "UINT8": "<u1", "UINT16": "<u2", "UINT32": "<u4", "UINT64": "<u8", "INT8": "<i1", "INT16": "<i2",
    "INT32": "<i4", "INT64": "<i8", "FP16": "<f2", "FP32": "<f4", "FP64": "<f8",
}  # fmt: skip
DATATYPES = ("BYTES", *NUMBER_FORMATS)
# Datatype of each column type.
COLUMN_TYPES = {"integer": "INT64", "number": "FP64", "boolean": "BOOL", "category": "BYTES", "datetime": "BYTES"}
_LENGTH = struct.Struct("<I")
# JSON types of each datatype, besides null; FP64 accepts every JSON number.
_INTEGERS = {name: np.iinfo(kind) for name, kind in NUMBER_FORMATS.items() if "INT" in name}
_MAX_FLOAT = {name: float(np.finfo(NUMBER_FORMATS[name]).max) for name in ("FP16", "FP32")}
_TYPES: dict[str, frozenset[type]] = {
    "BYTES": frozenset({str}),
    "BOOL": frozenset({bool}),
    **dict.fromkeys(_INTEGERS, frozenset({int})),
    **dict.fromkeys(("FP16", "FP32", "FP64"), frozenset({int, float})),
}


@dataclass(slots=True)
class OutputTensor:
    """An output tensor; `data` is in row-major order."""

    name: str
    datatype: str
    shape: list[int]
    data: Sequence[Any]


def check_values(name: str, datatype: str, values: list[Any]) -> None:
    """Check that JSON values have the datatype of their tensor; null is a missing value.

    Raises:
        InvalidRowsError: a value has another type or is out of range; the message names its index.
    """
    types = _TYPES[datatype]
    low, high = _range(datatype)
    kinds = set(map(type, values))
    present = [value for value in values if value is not None] if type(None) in kinds else values
    if kinds - {type(None)} <= types and (low is None or not present or (min(present) >= low and max(present) <= high)):
        return
    for index, value in enumerate(values):
        if value is not None and (type(value) not in types or (low is not None and not low <= value <= high)):
            limits = f" ({low} to {high})" if datatype in _INTEGERS else ""
            raise InvalidRowsError(
                f"input '{name}'[{index}]: {quoted(value)} is not a value of type {datatype}{limits}"
            )


def _range(datatype: str) -> tuple[Any, Any]:
    if datatype in _INTEGERS:
        return int(_INTEGERS[datatype].min), int(_INTEGERS[datatype].max)
    return (-_MAX_FLOAT[datatype], _MAX_FLOAT[datatype]) if datatype in _MAX_FLOAT else (None, None)


def unpack(name: str, datatype: str, data: memoryview, count: int) -> Any:
    """Return the values of a binary tensor: an array of numbers, or a list of texts.

    Raises:
        InvalidRowsError: the bytes are not `count` values of the datatype.
    """
    if datatype != "BYTES":
        kind = np.dtype(NUMBER_FORMATS[datatype])
        if len(data) != count * kind.itemsize:
            raise InvalidRowsError(
                f"input '{name}' has {len(data)} bytes, and {count} values of {datatype} take {count * kind.itemsize}"
            )
        if datatype == "BOOL" and len(invalid := np.flatnonzero(np.frombuffer(data, "u1") > 1)):
            raise InvalidRowsError(
                f"input '{name}'[{invalid[0]}]: the byte {data[invalid[0]]} is not a value of type BOOL (0 or 1)"
            )
        return np.frombuffer(data, kind)
    texts: list[bytes] = []
    while data and len(texts) < count:
        (size,) = _LENGTH.unpack_from(data) if len(data) >= _LENGTH.size else (len(data),)
        if size > len(data) - _LENGTH.size:
            raise InvalidRowsError(f"input '{name}': element {len(texts)} is longer than the remaining data")
        texts.append(bytes(data[_LENGTH.size : _LENGTH.size + size]))
        data = data[_LENGTH.size + size :]
    if data or len(texts) != count:
        raise InvalidRowsError(f"input '{name}' does not hold {count} elements")
    try:
        return [text.decode() for text in texts]
    except UnicodeDecodeError as error:
        raise InvalidRowsError(f"input '{name}' is not UTF-8: {error}") from error


def pack(output: OutputTensor) -> bytes:
    """Return the binary form of a tensor; a missing text becomes empty, a missing number NaN."""
    if output.datatype == "BYTES":
        texts = [("" if value is None else str(value)).encode() for value in output.data]
        return b"".join(_LENGTH.pack(len(text)) + text for text in texts)
    return np.asarray(output.data, dtype=NUMBER_FORMATS[output.datatype]).tobytes()
