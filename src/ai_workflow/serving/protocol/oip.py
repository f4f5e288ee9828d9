"""Open Inference Protocol (version 2) over HTTP, with the binary tensor extension.

https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/inference_rest.md

A request has one tensor for each column of a row, named after it, of shape [rows] or [rows, 1]; or a single tensor
`features` of shape [rows, features], in the order of the model's feature spec.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import orjson

from ai_workflow.features.row_encoder import InvalidRowsError
from ai_workflow.serving.protocol import json_body
from ai_workflow.serving.protocol.inputs import InferenceInput, MatrixInput, RowInput
from ai_workflow.serving.protocol.json_body import quoted, truncated
from ai_workflow.serving.protocol.tensors import DATATYPES, NUMBER_FORMATS, OutputTensor, check_values, pack, unpack

MATRIX = "features"
_DOUBLE_BYTES = 8


@dataclass(slots=True)
class InferRequest:
    """An inference request.

    Args:
        input: the rows.
        id: the ID that the client gave the request.
        timeout: the deadline of the client in seconds; None: that of the service.
        outputs: requested output -> whether it is binary; empty: all outputs.
        binary: whether outputs are binary by default.
    """

    input: InferenceInput
    id: str | None = None
    timeout: float | None = None
    outputs: dict[str, bool] = field(default_factory=dict)
    binary: bool = False


class _InputTensor(NamedTuple):
    """The content of an input tensor; `values` is a list or an array, in row-major order."""

    datatype: str
    shape: list[int]
    values: Any


def parse(body: bytes, json_bytes: int | None, max_rows: int) -> InferRequest:
    """Parse a request.

    Args:
        body: the body of the request.
        json_bytes: size of its JSON part if binary tensors follow; None: all of it.
        max_rows: limit of rows.

    Raises:
        InvalidRowsError: the request is malformed; the message names the tensor.
    """
    if json_bytes is not None and not 0 <= json_bytes <= len(body):
        raise InvalidRowsError(f"Inference-Header-Content-Length {json_bytes} does not fit a body of {len(body)} bytes")
    try:
        request = json_body.read(body if json_bytes is None else body[:json_bytes])
    except ValueError as error:
        raise InvalidRowsError(f"the body is not JSON: {error}") from error
    if type(request) is not dict or type(inputs := request.get("inputs")) is not list or not inputs:
        raise InvalidRowsError("the body must be an object with `inputs`, at least one tensor")
    tensors: dict[str, _InputTensor] = {}
    rest = memoryview(body)[len(body) if json_bytes is None else json_bytes :]
    for tensor in inputs:
        name, content, rest = _tensor(tensor, rest, max_rows)
        if name in tensors:
            raise InvalidRowsError(f"input '{truncated(name)}' is repeated")
        tensors[name] = content
    if rest:
        raise InvalidRowsError(f"{len(rest)} bytes follow the last binary tensor")
    parameters = _mapping(request, "parameters")
    outputs, request_id = request.get("outputs") or (), request.get("id")
    if outputs and not _have_names(outputs):
        raise InvalidRowsError("`outputs` must be a list of objects with a `name`")
    if request_id is not None and type(request_id) is not str:
        raise InvalidRowsError("`id` must be text")
    names = [each["name"] for each in outputs]
    if len(set(names)) < len(names):
        raise InvalidRowsError("an output is requested more than once")
    binary = parameters.get("binary_data_output") is True
    return InferRequest(
        _to_input(tensors),
        request_id,
        _timeout(parameters),
        {each["name"]: _mapping(each, "parameters").get("binary_data", binary) is True for each in outputs},
        binary,
    )


def _tensor(tensor: Any, rest: memoryview, max_rows: int) -> tuple[str, _InputTensor, memoryview]:
    """Return the name and content of a tensor, and the binary data of the tensors after it."""
    if type(tensor) is not dict or type(name := tensor.get("name")) is not str:
        raise InvalidRowsError("each input must be an object with a `name`")
    label = truncated(name)
    datatype, shape = tensor.get("datatype"), tensor.get("shape")
    if datatype != "BYTES" and (type(datatype) is not str or datatype not in NUMBER_FORMATS):
        raise InvalidRowsError(f"input '{label}': datatype {quoted(datatype)} is none of {', '.join(DATATYPES)}")
    if type(shape) is not list or not 1 <= len(shape) <= 2 or set(map(type, shape)) != {int} or min(shape) < 1:
        raise InvalidRowsError(
            f"input '{label}': shape {quoted(shape)} is not [rows] or [rows, columns], each at least 1"
        )
    if shape[0] > max_rows:
        raise InvalidRowsError(f"{shape[0]} rows are more than {max_rows}, the limit of a request (service.max_rows)")
    count = shape[0] * (shape[1] if len(shape) > 1 else 1)
    size = _mapping(tensor, "parameters").get("binary_data_size")
    if size is None:
        values = _flat_values(label, tensor.get("data"), shape, count)
        check_values(label, datatype, values)
    else:
        if tensor.get("data") is not None:
            raise InvalidRowsError(f"input '{label}' has both `data` and parameters.binary_data_size. Send one of them")
        if type(size) is not int or not 0 <= size <= len(rest):
            raise InvalidRowsError(f"input '{label}': binary_data_size is {quoted(size)}, and {len(rest)} bytes remain")
        values, rest = unpack(label, datatype, rest[:size], count), rest[size:]
    return name, _InputTensor(datatype, shape, values), rest


def _flat_values(name: str, data: Any, shape: list[int], count: int) -> list[Any]:
    if not isinstance(data, list):
        raise InvalidRowsError(f"input '{name}' has neither `data` nor parameters.binary_data_size")
    if data and type(data[0]) is list and set(map(type, data)) == {list}:
        width = shape[1] if len(shape) > 1 else 1
        if any(len(row) != width for row in data):
            raise InvalidRowsError(f"input '{name}' has nested rows that do not have the length {width} of its shape")
        data = [value for row in data for value in row]
    if len(data) != count:
        raise InvalidRowsError(f"input '{name}' has {len(data)} values, but its shape requires {count}")
    values: list[Any] = data
    return values


def _to_input(tensors: dict[str, _InputTensor]) -> InferenceInput:
    if len(tensors) == 1 and MATRIX in tensors and len(tensors[MATRIX][1]) == 2:
        return _matrix(*tensors[MATRIX])
    counts = {shape[0] for _, shape, _ in tensors.values()}
    if len(counts) > 1:
        raise InvalidRowsError(f"the inputs have different numbers of rows: {sorted(counts)}")
    for name, (_, shape, _) in tensors.items():
        if shape[1:] not in ([], [1]):
            raise InvalidRowsError(
                f"input '{truncated(name)}' is a column: its shape must be [rows] or [rows, 1], not {shape}"
            )
    columns = [list(_json_values(values)) for _, _, values in tensors.values()]
    return RowInput([dict(zip(tensors, row, strict=True)) for row in zip(*columns, strict=True)])


def _matrix(datatype: str, shape: list[int], values: Any) -> MatrixInput:
    if datatype == "BYTES":
        raise InvalidRowsError(f"input '{MATRIX}' must have a numeric datatype")
    kinds = set(map(type, values)) if type(values) is list else set()
    if not kinds <= {int, float, bool, type(None)}:
        raise InvalidRowsError(f"input '{MATRIX}' holds values that are not numbers")
    if kinds and kinds <= {int, float} and math.isfinite(sum(values)):
        try:
            return MatrixInput(struct.pack(f"<{len(values)}f", *values), shape[0], shape[1])
        except (OverflowError, struct.error):
            pass  # out of the range of float32: infinity, as in training
    # `null` is a missing value.
    numbers = np.asarray(values, dtype=np.float64)
    if np.isinf(numbers).any():
        raise InvalidRowsError(f"input '{MATRIX}' holds a number that is not finite")
    with np.errstate(over="ignore"):
        return MatrixInput(numbers.astype("<f4").tobytes(), shape[0], shape[1])


def _json_values(values: Any) -> Sequence[Any]:
    """Return values as JSON has them; NaN becomes a missing value."""
    if isinstance(values, np.ndarray):
        if values.dtype.kind == "f" and values.itemsize < _DOUBLE_BYTES:
            # The shortest decimal of a float32, as `sources.columns` reads such a column.
            values = values.astype("f4").astype(str).astype("f8")
        return [None if value != value else value for value in values.tolist()]  # noqa: PLR0124
    listed: Sequence[Any] = values
    return listed


def _have_names(outputs: Any) -> bool:
    return isinstance(outputs, list) and all(
        isinstance(each, dict) and type(each.get("name")) is str for each in outputs
    )


def _mapping(outer: dict[str, Any], name: str) -> dict[str, Any]:
    value = outer.get(name)
    if value is None:
        return {}
    if type(value) is not dict:
        raise InvalidRowsError(f"`{name}` must be an object")
    return value


def _timeout(parameters: dict[str, Any]) -> float | None:
    """Return `timeout`, which is in microseconds as in Triton's scheduling policy, in seconds."""
    timeout = parameters.get("timeout")
    if timeout is None:
        return None
    if type(timeout) is not int or timeout <= 0:
        raise InvalidRowsError("parameters.timeout must be a whole number of microseconds above 0")
    return timeout / 1e6


def check_outputs(request: InferRequest, names: Sequence[str]) -> None:
    """Check that the requested outputs exist.

    Raises:
        InvalidRowsError: an output does not exist.
    """
    if unknown := [name for name in request.outputs if name not in names]:
        raise InvalidRowsError(f"there is no output '{truncated(unknown[0])}'. Outputs: {', '.join(names)}")


def serialize(
    body: Mapping[str, Any], outputs: Sequence[OutputTensor], request: InferRequest
) -> tuple[bytes, int | None]:
    """Return the body of a response, and the size of its JSON part if binary tensors follow.

    It has the requested outputs in the order of the request.
    """
    if not request.outputs and not request.binary:
        return orjson.dumps({**body, "outputs": outputs}), None
    json_outputs: list[dict[str, Any]] = []
    binary_parts: list[bytes] = []
    by_name = {output.name: output for output in outputs}
    for output in [by_name[name] for name in request.outputs or by_name if name in by_name]:
        tensor: dict[str, Any] = {"name": output.name, "datatype": output.datatype, "shape": output.shape}
        if request.outputs.get(output.name, request.binary):
            data = pack(output)
            tensor["parameters"] = {"binary_data_size": len(data)}
            binary_parts.append(data)
        else:
            tensor["data"] = output.data
        json_outputs.append(tensor)
    head = orjson.dumps({**body, "outputs": json_outputs})
    return (b"".join([head, *binary_parts]), len(head)) if binary_parts else (head, None)
