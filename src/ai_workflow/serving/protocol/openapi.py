"""OpenAPI document of the service, with the columns of the loaded version."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version as package_version
from typing import Any

from ai_workflow.config.settings import Column, Settings
from ai_workflow.serving.protocol import openapi_examples, openapi_schemas
from ai_workflow.serving.routing.loaded_model import LoadedModel

_TEXT = {"type": "string"}
_COUNT = {"type": "integer", "minimum": 0}
_OPEN: dict[str, Any] = {"security": []}
_VERSION = {
    "name": "version", "in": "path", "required": True, "schema": _TEXT, "example": "latest",
    "description": "the name of a version, `latest` or `stable`",
}  # fmt: skip
_TRACE = {
    "name": "traceparent", "in": "header", "schema": _TEXT,
    "description": "W3C trace context; a malformed one is ignored",
}  # fmt: skip
_EXPLAIN = {
    "name": "explain", "in": "query", "schema": {"enum": ["0", "1"]},
    "description": "1: with the contributions of the columns to each prediction, for up to 100 rows",
}  # fmt: skip
# https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md
_JSON_BYTES = "Inference-Header-Content-Length"
_JSON_PART = {
    "name": _JSON_BYTES, "in": "header", "schema": _COUNT,
    "description": "size of the JSON part of the body in bytes, if binary tensors follow",
}  # fmt: skip
_RETRY = {"Retry-After": {"description": "seconds", "schema": _COUNT}}


@dataclass(frozen=True, slots=True)
class _ExampleValues:
    """Values of the training data: one of each category column, and the classes."""

    values: dict[str, str]
    classes: Sequence[str]

    @classmethod
    def of(cls, loaded: LoadedModel | None) -> _ExampleValues:
        if loaded is None:
            return cls({}, ())
        features = loaded.encoder.spec["features"]
        categories = [
            feature
            for feature in features
            if feature["kind"] == "category" and feature["vocabulary"] and not feature.get("derived")
        ]
        values = {feature["column"]: feature["vocabulary"][0] for feature in categories}
        return cls(values, loaded.classes or ())


def document(settings: Settings, loaded: LoadedModel | None) -> dict[str, Any]:
    """Return the document; without a loaded version, a row is any object."""
    columns, is_number = loaded.encoder.columns if loaded else {}, settings.task == "regression"
    document: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {"title": f"ai-workflow · {settings.pipeline}", "version": package_version("ai-workflow")},
        "paths": _paths(f"/v2/models/{settings.pipeline}", columns, is_number, _ExampleValues.of(loaded)),
        "components": {
            "schemas": openapi_schemas.schemas(
                columns, settings.service.max_rows, is_number, _ExampleValues.of(loaded).classes
            )
        },
    }
    service = settings.service
    schemes = {"bearer": service.token, "labelBearer": service.label_token}
    used = {name: {"type": "http", "scheme": "bearer"} for name, token in schemes.items() if token is not None}
    labels = document["paths"]["/labels"]["post"]
    if service.label_token is not None:
        labels["security"] = [{"labelBearer": []}]
    elif service.token is not None or service.admin_token is not None:
        del document["paths"]["/labels"]
    if service.token is not None:
        document["security"] = [{"bearer": []}]
    if used:
        document["components"]["securitySchemes"] = used
        _add_unauthorized(document["paths"], is_closed=service.token is not None)
    return document


def _paths(model: str, columns: dict[str, Column], is_number: bool, examples: _ExampleValues) -> dict[str, Any]:
    version = f"{model}/versions/{{version}}"
    return {
        **_inference_paths(model, version, columns, is_number, examples),
        **_model_paths(model, version),
        **_server_paths(),
    }


def _inference_paths(
    model: str, version: str, columns: dict[str, Column], is_number: bool, examples: _ExampleValues
) -> dict[str, Any]:
    predict = _operation(
        "predict", "Predict rows", _json("Prediction", "the predictions"), "400", "413", "415", "503", "504",
        requestBody=_body("Predict", openapi_examples.predict_requests(columns, examples.values)),
        parameters=[_EXPLAIN, _TRACE],
    )  # fmt: skip
    labels = _operation(
        "labels", "Send labels of predictions", _json("Accepted", "the labels are stored"),
        "400", "413", "415", "503",
        requestBody=_body("Labels", openapi_examples.label_requests(is_number, examples.classes)),
    )  # fmt: skip
    infer = _infer("infer", "Open Inference Protocol, optionally with binary tensors", columns, examples=examples)
    pinned = _infer(
        "inferByVersion", "Open Inference Protocol, one version without fallback", columns, "404", examples=examples,
        parameters=[_VERSION],
    )  # fmt: skip
    return {
        "/predict": {"post": predict},
        "/labels": {"post": labels},
        f"{model}/infer": {"post": infer},
        f"{version}/infer": {"post": pinned},
    }


def _model_paths(model: str, version: str) -> dict[str, Any]:
    of_model = _operation("modelMetadata", "Model metadata: inputs and outputs", _json("Metadata", "the model"))
    of_version = _operation(
        "versionMetadata", "Metadata of a version", _json("Metadata", "the version"), "404", parameters=[_VERSION]
    )
    ready = _readiness("modelReady", "Whether the model is ready", "ModelReady")
    version_ready = _readiness("versionReady", "Whether a version is ready", "ModelReady", "404", parameters=[_VERSION])
    return {
        model: {"get": of_model},
        version: {"get": of_version},
        f"{model}/ready": {"get": ready},
        f"{version}/ready": {"get": version_ready},
    }


def _server_paths() -> dict[str, Any]:
    metrics = {
        "description": "the metrics; with exemplars if OpenMetrics is requested",
        "content": {kind: {"schema": _TEXT} for kind in ("text/plain", "application/openmetrics-text")},
    }
    return {
        "/v2": {
            "get": _operation("serverMetadata", "Server metadata: name and extensions", _json("Server", "the server"))
        },
        "/v2/health/live": {"get": _operation("live", "Liveness", _json("Live", "the process runs"), **_OPEN)},
        "/v2/health/ready": {"get": _readiness("ready", "Readiness, and the version that serves", "Ready", **_OPEN)},
        "/metrics": {"get": _operation("metrics", "Metrics for Prometheus", metrics)},
    }


def _operation(name: str, summary: str, response: dict[str, Any], *errors: str, **more: Any) -> dict[str, Any]:
    responses = {"200": response, **{status: _error(status) for status in errors}}
    return {"operationId": name, "summary": summary, "responses": responses, **more}


def _infer(
    name: str, summary: str, columns: dict[str, Column], *errors: str, examples: _ExampleValues, parameters: Any = ()
) -> dict[str, Any]:
    binary: dict[str, Any] = {"application/octet-stream": {}}
    response = _json("Inferred", "the predictions; with binary tensors after the JSON if requested")
    response["content"] |= binary
    response["headers"] = {_JSON_BYTES: {"description": _JSON_PART["description"], "schema": _COUNT}}
    return _operation(
        name, summary, response, "400", *errors, "413", "415", "503", "504",
        requestBody=_body("Infer", openapi_examples.infer_requests(columns, examples.values), **binary),
        parameters=[*parameters, _TRACE, _JSON_PART],
    )  # fmt: skip


def _readiness(name: str, summary: str, schema: str, *errors: str, **more: Any) -> dict[str, Any]:
    operation = _operation(name, summary, _json(schema, "ready"), *errors, **more)
    operation["responses"]["503"] = _json(schema, "not ready")
    return operation


def _error(status: str) -> dict[str, Any]:
    error = _json("Error", "the error")
    return {**error, "headers": _RETRY} if status in ("503", "504") else error


def _add_unauthorized(paths: dict[str, Any], *, is_closed: bool) -> None:
    for operations in paths.values():
        for operation in operations.values():
            if operation.get("security", is_closed):
                operation["responses"]["401"] = _error("401")


def _body(schema: str, examples: dict[str, Any], **other: Any) -> dict[str, Any]:
    json = {"schema": _ref(schema), **({"examples": examples} if examples else {})}
    return {"required": True, "content": {"application/json": json, **other}}


def _json(schema: str, description: str) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": _ref(schema)}}}


def _ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}
