"""Asks a service with Triton's HTTP client: `triton_client.py HOST:PORT COMMAND < given.json`; prints JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
from tritonclient.http import InferenceServerClient, InferInput, InferRequestedOutput, InferResult
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

MODEL = "shop"
# The ways in which outputs can be asked for; Triton's default is all of them, as binary.
OUTPUTS: dict[str, Any] = {"none": None, "json": False, "binary": True}
NUMPY = {"FP64": np.float64, "INT64": np.int64, "BOOL": np.bool_, "BYTES": np.object_}


def health(client: InferenceServerClient, given: Any) -> Any:
    return {
        "live": client.is_server_live(),
        "ready": client.is_server_ready(),
        "model": client.is_model_ready(MODEL),
        "version": client.is_model_ready(MODEL, given["version"]),
        "unknown version": client.is_model_ready(MODEL, "model_v9.9"),
        "unknown model": client.is_model_ready("other"),
    }


def metadata(client: InferenceServerClient, given: Any) -> Any:
    return {
        "server": client.get_server_metadata(),
        "model": client.get_model_metadata(MODEL),
        "version": client.get_model_metadata(MODEL, given["version"]),
    }


def infer(client: InferenceServerClient, given: Any) -> Any:
    """Ask in all ways: numbers as JSON or binary, outputs as JSON, binary or as nothing is said of them."""
    wanted = given["outputs"]
    answers = []
    for is_binary in (False, True):
        inputs = _inputs(given, is_binary)
        for way, as_binary in OUTPUTS.items():
            outputs = None if as_binary is None else [InferRequestedOutput(each, as_binary) for each in wanted]
            found = client.infer(MODEL, inputs, outputs=outputs)
            answers.append({"input": "binary" if is_binary else "json", "outputs": way, **_told(found, wanted)})
    return answers


def options(client: InferenceServerClient, given: Any) -> Any:
    """Ask once, with what the client's `infer` takes beside the inputs."""
    found = client.infer(given.get("model", MODEL), _inputs(given, True), **given.get("options", {}))
    return _told(found, given["outputs"])


def refused(client: InferenceServerClient, given: Any) -> Any:
    """Return what the client raises for each of some requests."""
    return [_refusal(lambda asked=asked: options(client, asked)) for asked in given["requests"]]


def many(client: InferenceServerClient, given: Any) -> Any:
    """Ask many times at once, over a few connections."""
    waiting = [client.async_infer(MODEL, _inputs(given, True)) for _ in range(given["times"])]
    return [_told(each.get_result(), given["outputs"]) for each in waiting]


def _inputs(given: Any, is_binary: bool) -> list[InferInput]:
    if "features" in given:
        return [_input("features", np.array(given["features"], given["datatype"]), is_binary)]
    columns = given["columns"].items()
    return [_input(name, np.array(values, NUMPY[kind]), is_binary) for name, (kind, values) in columns]


def _input(name: str, values: np.ndarray, is_binary: bool) -> InferInput:
    made = InferInput(name, list(values.shape), np_to_triton_dtype(values.dtype))
    return made.set_data_from_numpy(values, binary_data=is_binary)


def _told(found: InferResult, names: list[str]) -> dict[str, Any]:
    body = found.get_response()
    arrays = {name: found.as_numpy(name) for name in names}
    return {
        "body": body,
        "binary": sorted(each["name"] for each in body["outputs"] if "data" not in each),
        **{name: None if values is None else _plain(values) for name, values in arrays.items()},
    }


def _plain(values: np.ndarray) -> list[Any]:
    found: list[Any] = values.tolist()
    return [each.decode() if isinstance(each, bytes) else each for each in found]


def _refusal(call: Callable[[], Any]) -> dict[str, Any]:
    try:
        return {"answered": call()}
    except InferenceServerException as error:
        return {"status": error.status(), "message": error.message()}


if __name__ == "__main__":
    commands = {each.__name__: each for each in (health, metadata, infer, options, refused, many)}
    with InferenceServerClient(sys.argv[1], concurrency=4) as asking:
        print(json.dumps(commands[sys.argv[2]](asking, json.load(sys.stdin))))
