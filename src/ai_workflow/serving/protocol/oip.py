"""The Open Inference Protocol, version 2, over HTTP, with the binary tensor extension: requests read, answers written.

https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/inference_rest.md

A request has one tensor for each column of a row, named after it, of shape [rows] or [rows, 1]; or a single tensor
`features` of shape [rows, features] with the numbers that the model takes, in the order of its feature spec.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

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
    """One request.

    Args:
        input_rows: what it asks about.
        id: what the caller calls it.
        timeout: seconds within which the answer is of use; None: those of the service.
        outputs: output -> whether it is wanted as binary; empty: all of them.
        binary: whether those are wanted as binary that nothing is said of.
    """

    input_rows: InferenceInput
    id: str | None = None
    timeout: float | None = None
    outputs: dict[str, bool] = field(default_factory=dict)
    binary: bool = False


def parse(body: bytes, header: int | None, most: int) -> InferRequest:
    """Read a request.

    Args:
        body: as it came.
        header: how many bytes of it are JSON, where binary tensors follow.
        most: how many rows it may have.

    Raises:
        InvalidRowsError: it is not such a request; said is where and why.
    """
    if header is not None and not 0 <= header <= len(body):
        raise InvalidRowsError(f"Inference-Header-Content-Length {header} does not fit a body of {len(body)} bytes")
    try:
        asked = json_body.read(body if header is None else body[:header])
    except ValueError as error:
        raise InvalidRowsError(f"the body is not JSON: {error}") from error
    if type(asked) is not dict or type(inputs := asked.get("inputs")) is not list or not inputs:
        raise InvalidRowsError("the body must be an object with `inputs`, one tensor at least")
    tensors, rest = {}, memoryview(body)[len(body) if header is None else header :]
    for tensor in inputs:
        name, values, rest = _tensor(tensor, rest, most)
        if name in tensors:
            raise InvalidRowsError(f"input '{truncated(name)}' is there twice")
        tensors[name] = values
    if rest:
        raise InvalidRowsError(f"{len(rest)} bytes follow the last binary tensor")
    parameters = _mapping(asked, "parameters")
    outputs, request_id = asked.get("outputs") or (), asked.get("id")
    if outputs and not _are_named(outputs):
        raise InvalidRowsError("`outputs` must be a list of objects with a `name`")
    if request_id is not None and type(request_id) is not str:
        raise InvalidRowsError("`id` must be text")
    names = [each["name"] for each in outputs]
    if len(set(names)) < len(names):
        raise InvalidRowsError("an output is requested twice")
    binary = parameters.get("binary_data_output") is True
    return InferRequest(
        _question(tensors),
        request_id,
        _timeout(parameters),
        {each["name"]: _mapping(each, "parameters").get("binary_data", binary) is True for each in outputs},
        binary,
    )


def _tensor(tensor: Any, rest: memoryview, most: int) -> tuple[str, tuple[str, list[int], Any], memoryview]:
    """Return a tensor's name, its type, shape and values, and the binary data after it."""
    if type(tensor) is not dict or type(name := tensor.get("name")) is not str:
        raise InvalidRowsError("each input must be an object with a `name`")
    said = truncated(name)
    datatype, shape = tensor.get("datatype"), tensor.get("shape")
    if datatype != "BYTES" and (type(datatype) is not str or datatype not in NUMBER_FORMATS):
        raise InvalidRowsError(f"input '{said}': datatype {quoted(datatype)} is none of {', '.join(DATATYPES)}")
    if type(shape) is not list or not 1 <= len(shape) <= 2 or set(map(type, shape)) != {int} or min(shape) < 1:
        raise InvalidRowsError(
            f"input '{said}': shape {quoted(shape)} is not [rows] or [rows, columns], each 1 at least"
        )
    if shape[0] > most:
        raise InvalidRowsError(f"{shape[0]} rows are more than the {most} that one request may have (service.max_rows)")
    count = shape[0] * (shape[1] if len(shape) > 1 else 1)
    size = _mapping(tensor, "parameters").get("binary_data_size")
    if size is None:
        values = _listed(said, tensor.get("data"), shape, count)
        check_values(said, datatype, values)
    else:
        if tensor.get("data") is not None:
            raise InvalidRowsError(f"input '{said}' has both `data` and parameters.binary_data_size. Send one of them")
        if type(size) is not int or not 0 <= size <= len(rest):
            raise InvalidRowsError(
                f"input '{said}': binary_data_size {quoted(size)}, and {len(rest)} bytes are left of the body"
            )
        values, rest = unpack(said, datatype, rest[:size], count), rest[size:]
    return name, (datatype, shape, values), rest


def _listed(name: str, data: Any, shape: list[int], count: int) -> list[Any]:
    if not isinstance(data, list):
        raise InvalidRowsError(f"input '{name}' has neither `data` nor parameters.binary_data_size")
    if data and type(data[0]) is list and set(map(type, data)) == {list}:
        width = shape[1] if len(shape) > 1 else 1
        if any(len(row) != width for row in data):
            raise InvalidRowsError(f"input '{name}' has nested rows that do not have the length {width} of its shape")
        data = [value for row in data for value in row]
    if len(data) != count:
        raise InvalidRowsError(f"input '{name}' has {len(data)} values, and its shape says {count}")
    values: list[Any] = data
    return values


def _question(tensors: dict[str, tuple[str, list[int], Any]]) -> InferenceInput:
    if len(tensors) == 1 and MATRIX in tensors and len(tensors[MATRIX][1]) == 2:
        return _matrix(*tensors[MATRIX])
    counts = {shape[0] for _, shape, _ in tensors.values()}
    if len(counts) > 1:
        raise InvalidRowsError(f"the inputs differ in how many rows they have: {sorted(counts)}")
    for name, (_, shape, _) in tensors.items():
        if shape[1:] not in ([], [1]):
            raise InvalidRowsError(
                f"input '{truncated(name)}' is one column: its shape is [rows] or [rows, 1], not {shape}"
            )
    columns = [list(_plain(values)) for _, _, values in tensors.values()]
    return RowInput([dict(zip(tensors, row, strict=True)) for row in zip(*columns, strict=True)])


def _matrix(datatype: str, shape: list[int], values: Any) -> MatrixInput:
    if datatype == "BYTES":
        raise InvalidRowsError(f"input '{MATRIX}' must be of numbers")
    kinds = set(map(type, values)) if type(values) is list else set()
    if not kinds <= {int, float, bool, type(None)}:
        raise InvalidRowsError(f"input '{MATRIX}' holds values that are not numbers")
    if kinds and kinds <= {int, float} and math.isfinite(sum(values)):
        try:
            return MatrixInput(struct.pack(f"<{len(values)}f", *values), shape[0], shape[1])
        except (OverflowError, struct.error):
            pass  # more than float32 holds: infinity, as in training
    # `null` is a missing value.
    numbers = np.asarray(values, dtype=np.float64)
    if np.isinf(numbers).any():
        raise InvalidRowsError(f"input '{MATRIX}' holds a number that is not finite")
    with np.errstate(over="ignore"):
        return MatrixInput(numbers.astype("<f4").tobytes(), shape[0], shape[1])


def _plain(values: Any) -> Sequence[Any]:
    """Return values as JSON has them; what is not a number is missing."""
    if isinstance(values, np.ndarray):
        if values.dtype.kind == "f" and values.itemsize < _DOUBLE_BYTES:
            # The shortest decimal that a float32 holds, as `sources.columns` reads such a column.
            values = values.astype("f4").astype(str).astype("f8")
        return [None if value != value else value for value in values.tolist()]  # noqa: PLR0124
    found: Sequence[Any] = values
    return found


def _are_named(outputs: Any) -> bool:
    return isinstance(outputs, list) and all(
        isinstance(each, dict) and type(each.get("name")) is str for each in outputs
    )


def _mapping(outer: dict[str, Any], name: str) -> dict[str, Any]:
    found = outer.get(name)
    if found is None:
        return {}
    if type(found) is not dict:
        raise InvalidRowsError(f"`{name}` must be an object")
    return found


def _timeout(parameters: dict[str, Any]) -> float | None:
    """Return `timeout`, which is in microseconds as in Triton's scheduling policy, in seconds."""
    timeout = parameters.get("timeout")
    if timeout is None:
        return None
    if type(timeout) is not int or timeout <= 0:
        raise InvalidRowsError("parameters.timeout must be a whole number of microseconds above 0")
    return timeout / 1e6


def check_outputs(asked: InferRequest, names: Sequence[str]) -> None:
    """Refuse a request for outputs that there are none of.

    Raises:
        InvalidRowsError: it has one.
    """
    if unknown := [name for name in asked.outputs if name not in names]:
        raise InvalidRowsError(f"there is no output '{truncated(unknown[0])}'; there is {', '.join(names)}")


def answer(body: dict[str, Any], outputs: Sequence[OutputTensor], asked: InferRequest) -> tuple[bytes, int | None]:
    """Return the bytes of an answer, and how many of them are JSON, where binary tensors follow.

    Outputs are those that are requested, in the order of the request.
    """
    if not asked.outputs and not asked.binary:
        return orjson.dumps({**body, "outputs": outputs}), None
    described, tail = [], []
    by_name = {output.name: output for output in outputs}
    for output in [by_name[name] for name in asked.outputs or by_name if name in by_name]:
        tensor: dict[str, Any] = {"name": output.name, "datatype": output.datatype, "shape": output.shape}
        if asked.outputs.get(output.name, asked.binary):
            data = pack(output)
            tensor["parameters"] = {"binary_data_size": len(data)}
            tail.append(data)
        else:
            tensor["data"] = output.data
        described.append(tensor)
    head = orjson.dumps({**body, "outputs": described})
    return (b"".join([head, *tail]), len(head)) if tail else (head, None)
