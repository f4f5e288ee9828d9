"""The OpenAPI document of the service, with the columns that the version at hand asks for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version as version_of
from typing import Any

from ai_workflow.config.settings import Column, Settings
from ai_workflow.serving.protocol import openapi_examples, openapi_schemas
from ai_workflow.serving.routing.loaded_model import LoadedModel

_TEXT = {"type": "string"}
_COUNT = {"type": "integer", "minimum": 0}
_OPEN: dict[str, Any] = {"security": []}
_VERSION = {
    "name": "version", "in": "path", "required": True, "schema": _TEXT, "example": "latest",
    "description": "the name of a version, or latest, or stable",
}  # fmt: skip
_TRACE = {
    "name": "traceparent", "in": "header", "schema": _TEXT,
    "description": "W3C trace context; one that cannot be read is ignored",
}  # fmt: skip
# https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md
_JSON_BYTES = "Inference-Header-Content-Length"
_JSON_PART = {
    "name": _JSON_BYTES, "in": "header", "schema": _COUNT,
    "description": "how many bytes of the body are JSON, where binary tensors follow",
}  # fmt: skip
_RETRY = {"Retry-After": {"description": "seconds", "schema": _COUNT}}


@dataclass(frozen=True, slots=True)
class _Seen:
    """Values that the training of a version saw: one of each category, and the classes."""

    values: dict[str, str]
    classes: Sequence[str]

    @classmethod
    def of(cls, loaded: LoadedModel | None) -> _Seen:
        if loaded is None:
            return cls({}, ())
        described = [one for one in loaded.encoder.spec["features"] if one["kind"] == "category" and one["vocabulary"]]
        return cls({one["column"]: one["vocabulary"][0] for one in described}, loaded.classes or ())


def document(settings: Settings, loaded: LoadedModel | None) -> dict[str, Any]:
    """Return the document; where no version is loaded, a row is any object."""
    columns, is_number = loaded.encoder.columns if loaded else {}, settings.task == "regression"
    document: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {"title": f"ai-workflow · {settings.pipeline}", "version": version_of("ai-workflow")},
        "paths": _paths(f"/v2/models/{settings.pipeline}", columns, is_number, _Seen.of(loaded)),
        "components": {
            "schemas": openapi_schemas.schemas(columns, settings.service.max_rows, is_number, _Seen.of(loaded).classes)
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


def _paths(model: str, columns: dict[str, Column], is_number: bool, seen: _Seen) -> dict[str, Any]:
    version = f"{model}/versions/{{version}}"
    return {
        **_inference_paths(model, version, columns, is_number, seen),
        **_model_paths(model, version),
        **_server_paths(),
    }


def _inference_paths(
    model: str, version: str, columns: dict[str, Column], is_number: bool, seen: _Seen
) -> dict[str, Any]:
    predict = _operation(
        "predict", "Predict rows", _json("Prediction", "the predictions"), "400", "413", "415", "503", "504",
        requestBody=_body("Predict", openapi_examples.of_predict(columns, seen.values)), parameters=[_TRACE],
    )  # fmt: skip
    labels = _operation(
        "labels", "Say what turned out to be true of predictions", _json("Accepted", "they are kept"),
        "400", "413", "415", "503",
        requestBody=_body("Labels", openapi_examples.of_labels(is_number, seen.classes)),
    )  # fmt: skip
    infer = _infer("infer", "Open Inference Protocol, with or without binary tensors", columns, seen=seen)
    pinned = _infer(
        "inferByVersion", "The same by one version, without a fallback", columns, "404", seen=seen,
        parameters=[_VERSION],
    )  # fmt: skip
    return {
        "/predict": {"post": predict},
        "/labels": {"post": labels},
        f"{model}/infer": {"post": infer},
        f"{version}/infer": {"post": pinned},
    }


def _model_paths(model: str, version: str) -> dict[str, Any]:
    of_model = _operation("modelMetadata", "What the model takes and gives", _json("Metadata", "the model"))
    of_version = _operation(
        "versionMetadata", "The same of one version", _json("Metadata", "the version"), "404", parameters=[_VERSION]
    )
    ready = _readiness("modelReady", "Whether the model answers", "ModelReady")
    version_ready = _readiness("versionReady", "Whether a version answers", "ModelReady", "404", parameters=[_VERSION])
    return {
        model: {"get": of_model},
        version: {"get": of_version},
        f"{model}/ready": {"get": ready},
        f"{version}/ready": {"get": version_ready},
    }


def _server_paths() -> dict[str, Any]:
    metrics = {
        "description": "the metrics; in OpenMetrics, with exemplars, for who asks for that",
        "content": {kind: {"schema": _TEXT} for kind in ("text/plain", "application/openmetrics-text")},
    }
    return {
        "/v2": {"get": _operation("serverMetadata", "Name and extensions", _json("Server", "the server"))},
        "/v2/health/live": {"get": _operation("live", "Whether the process runs", _json("Live", "it runs"), **_OPEN)},
        "/v2/health/ready": {
            "get": _readiness("ready", "Whether requests are answered, and by what", "Ready", **_OPEN)
        },
        "/metrics": {"get": _operation("metrics", "Metrics for Prometheus", metrics)},
    }


def _operation(name: str, summary: str, answer: dict[str, Any], *errors: str, **more: Any) -> dict[str, Any]:
    responses = {"200": answer, **{status: _error(status) for status in errors}}
    return {"operationId": name, "summary": summary, "responses": responses, **more}


def _infer(
    name: str, summary: str, columns: dict[str, Column], *errors: str, seen: _Seen, parameters: Any = ()
) -> dict[str, Any]:
    binary: dict[str, Any] = {"application/octet-stream": {}}
    answer = _json("Inferred", "the answer; with binary tensors after the JSON where they were asked for")
    answer["content"] |= binary
    answer["headers"] = {_JSON_BYTES: {"description": _JSON_PART["description"], "schema": _COUNT}}
    return _operation(
        name, summary, answer, "400", *errors, "413", "415", "503", "504",
        requestBody=_body("Infer", openapi_examples.of_infer(columns, seen.values), **binary),
        parameters=[*parameters, _TRACE, _JSON_PART],
    )  # fmt: skip


def _readiness(name: str, summary: str, schema: str, *errors: str, **more: Any) -> dict[str, Any]:
    found = _operation(name, summary, _json(schema, "it does"), *errors, **more)
    found["responses"]["503"] = _json(schema, "it does not")
    return found


def _error(status: str) -> dict[str, Any]:
    found = _json("Error", "what is wrong")
    return {**found, "headers": _RETRY} if status in ("503", "504") else found


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
