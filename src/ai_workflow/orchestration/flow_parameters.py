"""Types of flow parameters, with the JSON schema for the form of the UI and the validation by the server.

The schema is stricter than the Python type: a run by hand gets the one-line error of the configuration instead of a
traceback. An empty text means the same as null, because the form has no input field for a null value
(`ai_workflow.provisioning.deployments` sets the empty texts).
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import WithJsonSchema

Pipeline = Annotated[
    str | None,
    WithJsonSchema({"anyOf": [{"type": "string", "pattern": r"^$|\.ya?ml$|^[a-z][a-z0-9_]*$"}, {"type": "null"}]}),
]
Environment = Annotated[
    str | None,
    WithJsonSchema({"anyOf": [{"type": "string", "pattern": "^$|^[a-z0-9][a-z0-9_-]{0,62}$"}, {"type": "null"}]}),
]
Overrides = Annotated[
    dict[str, Any] | None,
    WithJsonSchema(
        {"anyOf": [{"type": "object", "propertyNames": {"pattern": "^[a-z0-9_]+([.][^.]+)*$"}}, {"type": "null"}]}
    ),
]
_TRACEPARENT = "^$|^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}"
Traceparent = Annotated[
    str | None, WithJsonSchema({"anyOf": [{"type": "string", "pattern": _TRACEPARENT}, {"type": "null"}]})
]
# `(?![\s\S])` instead of `$`, which in Python also matches before a final line feed.
VersionName = Annotated[
    str, WithJsonSchema({"type": "string", "pattern": r"^(latest|stable|model_v[0-9]+[.][0-9]+)(?![\s\S])"})
]
WaitHours = Annotated[float, WithJsonSchema({"type": "number", "minimum": 0, "maximum": 8760})]
LogLevel = Annotated[
    str | None,
    WithJsonSchema(
        {"anyOf": [{"type": "string", "enum": ["", "DEBUG", "INFO", "WARN", "WARNING", "ERROR"]}, {"type": "null"}]}
    ),
]
