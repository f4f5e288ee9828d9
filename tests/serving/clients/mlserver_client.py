"""Asks a service by MLServer's types and codecs: `mlserver_client.py HOST:PORT COMMAND < given.json`; prints JSON."""

from __future__ import annotations

import json
import sys
import urllib.error
import urllib.request
from typing import Any

import numpy as np
import pandas as pd
from mlserver.codecs import NumpyCodec, PandasCodec, StringCodec
from mlserver.types import (
    InferenceErrorResponse,
    InferenceRequest,
    InferenceResponse,
    MetadataModelResponse,
    MetadataServerResponse,
    RequestOutput,
)

MODEL = "v2/models/shop"


def metadata(address: str, given: Any) -> Any:
    server = MetadataServerResponse.model_validate_json(_get(address, "v2"))
    model = MetadataModelResponse.model_validate_json(_get(address, MODEL))
    return {"server": server.model_dump(), "model": model.model_dump()}


def frame(address: str, given: Any) -> Any:
    """Send a frame as PandasCodec encodes it, and return the frame that it decodes the answer to."""
    # This codec knows text as objects only, and pandas 3 has a type of its own for it.
    rows = pd.DataFrame(given["rows"]).apply(lambda values: values.astype(object) if values.dtype == "str" else values)
    asked = PandasCodec.encode_request(rows)
    asked.outputs = [RequestOutput(name=name) for name in given["outputs"]]
    found = PandasCodec.decode_response(_infer(address, asked))
    return {"sent": {each.name: each.datatype for each in asked.inputs}, "rows": found.to_dict("records")}


def columns(address: str, given: Any) -> Any:
    """Send columns as NumpyCodec and StringCodec encode them, and return each output as they decode it."""
    inputs = [
        StringCodec.encode_input(name, values) if kind == "BYTES" else NumpyCodec.encode_input(name, np.array(values))
        for name, (kind, values) in given["columns"].items()
    ]
    return _decoded(_infer(address, InferenceRequest(inputs=inputs)))


def features(address: str, given: Any) -> Any:
    matrix = np.array(given["features"], given["datatype"])
    return _decoded(_infer(address, InferenceRequest(inputs=[NumpyCodec.encode_input("features", matrix)])))


def refused(address: str, given: Any) -> Any:
    try:
        return {"answered": features(address, given)}
    except urllib.error.HTTPError as error:
        return {"status": error.code, **InferenceErrorResponse.model_validate_json(error.read()).model_dump()}


def _infer(address: str, asked: InferenceRequest) -> InferenceResponse:
    body = asked.model_dump_json().encode()
    request = urllib.request.Request(
        f"http://{address}/{MODEL}/infer", body, {"Content-Type": "application/json"}, method="POST"
    )
    with urllib.request.urlopen(request, timeout=20) as response:
        return InferenceResponse.model_validate_json(response.read())


def _get(address: str, path: str) -> bytes:
    with urllib.request.urlopen(f"http://{address}/{path}", timeout=20) as response:
        body: bytes = response.read()
    return body


def _decoded(found: InferenceResponse) -> dict[str, Any]:
    return {
        each.name: StringCodec.decode_output(each)
        if each.datatype == "BYTES"
        else NumpyCodec.decode_output(each).tolist()
        for each in found.outputs
    }


if __name__ == "__main__":
    commands = {each.__name__: each for each in (metadata, frame, columns, features, refused)}
    print(json.dumps(commands[sys.argv[2]](sys.argv[1], json.load(sys.stdin))))
