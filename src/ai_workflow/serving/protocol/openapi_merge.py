"""OpenAPI document of a service of several pipelines, made of the documents of its pipelines."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ai_workflow import json_text

# Paths without the name of a pipeline that a pipeline has for itself.
_OWN = ("/predict", "/labels")
_SCHEMAS = "#/components/schemas/"
_READY = {"type": "object", "required": ["ready", "state", "pipelines"]}


def merged(documents: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """Return one document; schemas and operations of a pipeline begin with its name.

    Args:
        documents: the document of each pipeline, by name.
    """
    paths: dict[str, Any] = {}
    schemas: dict[str, Any] = {}
    first = next(iter(documents.values()))
    for name, document in documents.items():
        text = json_text.line(document).replace(_SCHEMAS, f"{_SCHEMAS}{name}.")
        own = json.loads(text)
        schemas |= {f"{name}.{key}": schema for key, schema in own["components"]["schemas"].items()}
        for path, item in own["paths"].items():
            if path in _OWN or path.startswith("/v2/models/"):
                paths[f"{path}/{name}" if path in _OWN else path] = _renamed(item, name)
            else:
                paths.setdefault(path, item)
    ready = {name: {"$ref": f"{_SCHEMAS}{name}.Ready"} for name in documents}
    of_first = first["components"]["schemas"]["Ready"]["properties"]
    own_properties = {key: of_first[key] for key in ("ready", "state")}
    schemas["Ready"] = {
        **_READY,
        "properties": {**own_properties, "pipelines": {"type": "object", "properties": ready}},
    }
    for response in ("200", "503"):
        content = paths["/v2/health/ready"]["get"]["responses"][response]["content"]
        content["application/json"]["schema"] = {"$ref": f"{_SCHEMAS}Ready"}
    components = {**first["components"], "schemas": schemas}
    info = {**first["info"], "title": f"ai-workflow · {', '.join(documents)}"}
    return {**first, "info": info, "paths": paths, "components": components}


def _renamed(item: dict[str, Any], name: str) -> dict[str, Any]:
    """Return a path with operation IDs that no other pipeline has."""
    return {
        key: {**each, "operationId": f"{name}.{each['operationId']}"}
        if isinstance(each, dict) and "operationId" in each
        else each
        for key, each in item.items()
    }
