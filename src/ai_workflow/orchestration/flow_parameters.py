"""The parameters that flows share, as the form of the UI shows them and as the server validates them.

The types say more in the schema than they check in Python: a run by hand gets the one-line error of the
configuration instead of a traceback. An empty text means the same as null, so that the form of a deployment can start
filled in: a form shows null as a field without input (`ai_workflow.provisioning.deployments` sets the empty texts).
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import WithJsonSchema

Pipeline = Annotated[
    str | None, WithJsonSchema({"anyOf": [{"type": "string", "pattern": r"^$|\.ya?ml$"}, {"type": "null"}]})
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
# Without `$`, which in Python matches before a line feed at the end as well.
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
