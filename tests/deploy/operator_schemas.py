"""What Prometheus' operator knows of ServiceMonitor and PrometheusRule, as far as it is used here.

Written from its API reference (monitoring.coreos.com/v1); narrower than that: what is not used is not allowed.
"""

from __future__ import annotations

from typing import Any

_TEXT = {"type": "string", "minLength": 1}
_TEXTS = {"type": "object", "additionalProperties": {"type": "string"}}
_DURATION = {"type": "string", "pattern": r"^([0-9]+(ms|s|m|h|d|w|y))+$"}


def _closed(required: list[str], **properties: Any) -> dict[str, Any]:
    return {"type": "object", "required": required, "properties": properties, "additionalProperties": False}


def _kind(name: str, spec: dict[str, Any]) -> dict[str, Any]:
    metadata = _closed(["name"], name=_TEXT, labels=_TEXTS, namespace=_TEXT)
    return _closed(
        ["apiVersion", "kind", "metadata", "spec"],
        apiVersion={"const": "monitoring.coreos.com/v1"}, kind={"const": name}, metadata=metadata, spec=spec,
    )  # fmt: skip


_SECRET_KEY = _closed(["name", "key"], name=_TEXT, key=_TEXT)
_ENDPOINT = _closed(
    ["port"],
    port=_TEXT,
    path=_TEXT,
    interval=_DURATION,
    authorization=_closed(["credentials"], type={"const": "Bearer"}, credentials=_SECRET_KEY),
)
_RULE = _closed(
    ["expr"],
    alert=_TEXT, record=_TEXT, expr=_TEXT, labels=_TEXTS, annotations=_TEXTS,
    keep_firing_for=_DURATION, **{"for": _DURATION},
)  # fmt: skip
_GROUP = _closed(["name", "rules"], name=_TEXT, interval=_DURATION, rules={"type": "array", "items": _RULE})

KINDS = {
    "ServiceMonitor": _kind(
        "ServiceMonitor",
        _closed(
            ["selector", "endpoints"],
            jobLabel=_TEXT,
            selector=_closed(["matchLabels"], matchLabels=_TEXTS),
            endpoints={"type": "array", "minItems": 1, "items": _ENDPOINT},
        ),
    ),
    "PrometheusRule": _kind("PrometheusRule", _closed(["groups"], groups={"type": "array", "items": _GROUP})),
}
