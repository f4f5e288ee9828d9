"""The Open Inference Protocol with binary tensors: what is read, what is written, and what is refused and why."""

from __future__ import annotations

import contextlib
import json
import struct
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ai_workflow.features.row_encoder import InvalidRowsError
from ai_workflow.serving.protocol import oip, tensors
from ai_workflow.serving.protocol.inputs import MatrixInput, RowInput
from ai_workflow.serving.protocol.oip import InferRequest
from ai_workflow.serving.protocol.tensors import OutputTensor


def tensor(name: str = "features", datatype: str = "FP64", shape: Any = (1, 2), **more: Any) -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": list(shape), **more}


def parsed(*inputs: Any, most: int = 100, **more: Any) -> InferRequest:
    return oip.parse(json.dumps({"inputs": inputs, **more}).encode(), None, most)


def binary(inputs: list[dict[str, Any]], *tails: bytes, **more: Any) -> InferRequest:
    head = json.dumps({"inputs": inputs, **more}).encode()
    return oip.parse(head + b"".join(tails), len(head), 100)


def numbers(asked: InferRequest) -> list[float]:
    assert isinstance(asked.input, MatrixInput)
    return np.frombuffer(asked.input._data, "<f4").tolist()


def test_json_features_accept_flat_or_nested_data_and_null() -> None:
    assert numbers(parsed(tensor(data=[1, 2.5]))) == [1, 2.5]
    assert numbers(parsed(tensor(shape=(2, 2), data=[[1, 2], [3, 4]]))) == [1, 2, 3, 4]
    found = numbers(parsed(tensor(data=[None, 2])))
    assert np.isnan(found[0])
    assert found[1] == 2


@pytest.mark.parametrize("datatype", ["FP32", "FP64", "FP16", "INT8", "INT64", "UINT16", "BOOL"])
def test_binary_features_of_every_datatype_are_decoded_equally(datatype: str) -> None:
    values = np.array([1, 0], dtype=tensors.NUMBER_FORMATS[datatype])
    asked = binary([tensor(datatype=datatype, parameters={"binary_data_size": values.nbytes})], values.tobytes())
    assert numbers(asked) == [1, 0]


def test_mixed_json_and_binary_columns_are_decoded_to_rows() -> None:
    text = b"".join(struct.pack("<I", len(word)) + word for word in (b"rot", "grün".encode()))
    weights = np.array([1.5, np.nan], dtype="<f8").tobytes()
    asked = binary(
        [
            tensor("colour", "BYTES", (2,), parameters={"binary_data_size": len(text)}),
            tensor("pieces", "INT64", (2, 1), data=[3, 4]),
            tensor("weight", "FP64", (2,), parameters={"binary_data_size": len(weights)}),
        ],
        text,
        weights,
    )
    assert isinstance(asked.input, RowInput)
    assert asked.input.raw_rows() == [
        {"colour": "rot", "pieces": 3, "weight": 1.5},
        {"colour": "grün", "pieces": 4, "weight": None},
    ]


def test_request_id_timeout_and_outputs_are_parsed() -> None:
    asked = parsed(
        tensor(data=[1, 2]),
        id="mine",
        parameters={"timeout": 1500, "binary_data_output": True},
        outputs=[{"name": "score"}, {"name": "prediction", "parameters": {"binary_data": False}}],
    )
    assert (asked.id, asked.timeout, asked.binary) == ("mine", 0.0015, True)
    assert asked.outputs == {"score": True, "prediction": False}


REFUSED: list[tuple[Any, str]] = [
    (tensor(datatype="FP128", data=[1, 2]), "datatype 'FP128' is none of BYTES"),
    (tensor(datatype=["FP64"], data=[1, 2]), "datatype ['FP64'] is none of"),
    (tensor(shape=(1, 2, 3), data=[1]), "shape [1, 2, 3] is not [rows] or [rows, columns]"),
    (tensor(shape=(0, 2), data=[]), "each at least 1"),
    (tensor(shape=(True, 2), data=[1, 2]), "each at least 1"),
    (tensor(shape=(101, 1), data=[1]), "101 rows are more than 100"),
    (tensor(shape=(1, 10**18), data=[1]), "has 1 values, but its shape requires"),
    (tensor(), "has neither `data` nor parameters.binary_data_size"),
    (tensor(data=[1]), "has 1 values, but its shape requires 2"),
    (tensor(data=["a", "b"]), "input 'features'[0]: 'a' is not a value of type FP64"),
    (tensor(data=[1, {}]), "input 'features'[1]: {} is not a value of type FP64"),
    (tensor(datatype="BYTES", data=["a", "b"]), "must have a numeric datatype"),
    (tensor(data=[10**400, 1]), "the body is not JSON: number is infinity"),
    (tensor("price", shape=(1, 2), data=[1, 2]), "is a column: its shape must be [rows] or [rows, 1]"),
    (tensor(parameters={"binary_data_size": 16}), "0 bytes remain"),
    (tensor(parameters={"binary_data_size": 0}, data=[1, 2]), "has both `data` and parameters.binary_data_size"),
    (tensor(parameters={"binary_data_size": -1}), "binary_data_size is -1"),
    (tensor(parameters=[1], data=[1, 2]), "`parameters` must be an object"),
    ("features", "each input must be an object"),
    ({"datatype": "FP64"}, "each input must be an object with a `name`"),
]


@pytest.mark.parametrize(("given_", "said"), REFUSED, ids=[said for _, said in REFUSED])
def test_invalid_tensor_is_rejected_with_reason(given_: Any, said: str) -> None:
    with pytest.raises(InvalidRowsError) as error:
        parsed(given_)
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"id": 7}, "`id` must be text"),
        ({"outputs": {}}, None),
        ({"outputs": {"a": 1}}, "`outputs` must be a list"),
        ({"outputs": [1]}, "`outputs` must be a list"),
        ({"parameters": {"timeout": 0}}, "microseconds above 0"),
        ({"parameters": {"timeout": "1"}}, "microseconds above 0"),
        ({"parameters": 3}, "`parameters` must be an object"),
    ],
)
def test_invalid_infer_request_fields_are_rejected(more: dict[str, Any], said: str | None) -> None:
    if said is None:
        parsed(tensor(data=[1, 2]), **more)
        return
    with pytest.raises(InvalidRowsError, match=said):
        parsed(tensor(data=[1, 2]), **more)


def test_inconsistent_binary_sizes_are_rejected() -> None:
    eight = tensor("c", "BYTES", (2,), parameters={"binary_data_size": 8})
    for data, said in (
        (struct.pack("<I", 100) + b"abcd", "longer than the remaining data"),
        (struct.pack("<I", 4) + b"abcd", "does not hold 2 elements"),
        (struct.pack("<II", 0, 0) + b"x", "1 bytes follow"),
        (struct.pack("<I", 1) + b"\xff" + b"\0\0\0", "longer than the remaining data"),
    ):
        with pytest.raises(InvalidRowsError, match=said):
            binary([eight], data)
    with pytest.raises(InvalidRowsError, match="not UTF-8"):
        binary([tensor("c", "BYTES", (1,), parameters={"binary_data_size": 5})], struct.pack("<I", 1) + b"\xff")
    with pytest.raises(InvalidRowsError, match="is not finite"):
        binary([tensor(parameters={"binary_data_size": 16})], np.array([np.inf, 1]).tobytes())
    with pytest.raises(InvalidRowsError, match="does not fit a body"):
        oip.parse(b"{}", 3, 1)
    with pytest.raises(InvalidRowsError, match="is repeated"):
        parsed(tensor(data=[1, 2]), tensor(data=[1, 2]))
    with pytest.raises(InvalidRowsError, match="different numbers of rows"):
        parsed(tensor("a", shape=(1,), data=[1]), tensor("b", shape=(2,), data=[1, 2]))


@pytest.mark.integration
@given(st.binary(max_size=200), st.one_of(st.none(), st.integers(-5, 300)))
@settings(max_examples=300, deadline=None)
def test_arbitrary_bytes_are_rejected_as_invalid_rows(body: bytes, header: int | None) -> None:
    with pytest.raises(InvalidRowsError):
        oip.parse(body, header, 10)


json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(), st.text(max_size=5)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)),
    max_leaves=6,
)
sent = st.fixed_dictionaries(
    {"name": st.one_of(st.just("features"), json_values), "datatype": st.sampled_from(["FP64", "BYTES", "BOOL", 3])},
    optional={"shape": st.one_of(st.lists(st.integers(0, 3), max_size=3), json_values), "data": json_values,
              "parameters": json_values},
)  # fmt: skip


@pytest.mark.integration
@given(st.lists(sent, max_size=3), st.dictionaries(st.sampled_from(["id", "outputs", "parameters"]), json_values))
@settings(max_examples=300, deadline=None)
def test_arbitrary_json_never_crashes_the_parser(inputs: list[Any], more: dict[str, Any]) -> None:
    # Anything but these fails the test.
    with contextlib.suppress(InvalidRowsError):
        assert oip.parse(json.dumps({"inputs": inputs, **more}).encode(), None, 10).input.rows <= 10


OUTPUTS = [OutputTensor("prediction", "BYTES", [2], ["yes", None]), OutputTensor("score", "FP64", [2], [0.75, None])]


def test_outputs_are_encoded_as_json_or_binary_per_request() -> None:
    body, head = oip.serialize({"model_name": "m"}, OUTPUTS, InferRequest(RowInput([{}])))
    assert head is None
    assert orjson.loads(body)["outputs"][1] == {"name": "score", "datatype": "FP64", "shape": [2], "data": [0.75, None]}
    asked = InferRequest(RowInput([{}]), outputs={"prediction": True, "score": False})
    body, head = oip.serialize({"model_name": "m"}, OUTPUTS, asked)
    described = orjson.loads(body[:head])["outputs"]
    assert described[0] == {
        "name": "prediction", "datatype": "BYTES", "shape": [2], "parameters": {"binary_data_size": 11},
    }  # fmt: skip
    assert body[head:] == struct.pack("<I", 3) + b"yes" + struct.pack("<I", 0)
    body, head = oip.serialize({"model_name": "m"}, OUTPUTS, InferRequest(RowInput([{}]), outputs={"score": True}))
    score = np.frombuffer(body[head:], "<f8")
    assert score[0] == 0.75
    assert np.isnan(score[1])


@pytest.mark.parametrize(
    ("datatype", "values", "wrong"),
    [
        ("UINT8", [0, 255, None], [256, -1, 1.0, True, "1"]),
        ("INT8", [-128, 127], [128, -129, 1.5]),
        ("UINT64", [0, 2**64 - 1], [-1, 2**64]),
        ("INT64", [-(2**63), 2**63 - 1], [2**63, 1.5, 1e300, "7"]),
        ("FP16", [65504, -0.5], [65520, "1"]),
        ("FP32", [3.4e38, 1, None], [3.5e38, "12.5", True, []]),
        ("FP64", [1e308, 2**53 + 1], ["12.5", False, {}]),
        ("BOOL", [True, False, None], [0, 1, 2, "true"]),
        ("BYTES", ["", "a", None], [1, 1.5, True, ["a"]]),
    ],
)
def test_json_value_of_wrong_datatype_is_rejected_with_index(
    datatype: str, values: list[Any], wrong: list[Any]
) -> None:
    good = orjson.loads(orjson.dumps(values))
    asked = parsed(tensor("c", datatype, (len(good),), data=good))
    assert isinstance(asked.input, RowInput)
    assert [row["c"] for row in asked.input.raw_rows()] == good
    for value in wrong:
        with pytest.raises(InvalidRowsError, match=rf"input 'c'\[{len(good)}\]: .* is not a value of type {datatype}"):
            parsed(tensor("c", datatype, (len(good) + 1,), data=[*good, value]))


def test_invalid_boolean_byte_or_nested_shape_is_rejected() -> None:
    with pytest.raises(InvalidRowsError, match=r"input 'c'\[1\]: the byte 2 is not a value of type BOOL"):
        binary([tensor("c", "BOOL", (2,), parameters={"binary_data_size": 2})], b"\x01\x02")
    for shape, data in (((2, 2), [[1], [2, 3, 4]]), ((4,), [[1, 2], [3, 4]])):
        with pytest.raises(InvalidRowsError, match="nested rows"):
            parsed(tensor(shape=shape, data=data))


def test_only_requested_outputs_are_returned_in_request_order() -> None:
    outputs = [*OUTPUTS, OutputTensor("probabilities", "FP64", [2, 1], [0.5, 0.5])]
    for binary_too in (False, True):
        asked = InferRequest(RowInput([{}]), outputs={"probabilities": binary_too, "prediction": False})
        body, head = oip.serialize({}, outputs, asked)
        described = orjson.loads(body[:head] if head else body)["outputs"]
        assert [each["name"] for each in described] == ["probabilities", "prediction"]
    with pytest.raises(InvalidRowsError, match="requested more than once"):
        parsed(tensor(data=[1, 2]), outputs=[{"name": "score"}, {"name": "score"}])
