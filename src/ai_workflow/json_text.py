"""JSON writer of the package: UTF-8, sorted keys, no NaN or infinity, which JSON does not have."""

from __future__ import annotations

import json
import math
from typing import Any

from ai_workflow.errors import AiWorkflowError


class NonFiniteNumberError(AiWorkflowError):
    """A value to be written as JSON has a NaN or an infinity."""


def line(body: Any, *, sort_keys: bool = True, ensure_ascii: bool = False, compact: bool = False) -> str:
    """Return a value as JSON on one line.

    Raises:
        NonFiniteNumberError: the value has a NaN or an infinity; the message names the key.
    """
    return _text(body, sort_keys=sort_keys, ensure_ascii=ensure_ascii, separators=(",", ":") if compact else None)


def document(body: Any, *, indent: int = 1) -> bytes:
    """Return a value as indented JSON with a newline at the end.

    Raises:
        NonFiniteNumberError: the value has a NaN or an infinity; the message names the key.
    """
    return (_text(body, sort_keys=True, ensure_ascii=False, indent=indent) + "\n").encode()


def finite(body: Any) -> Any:
    """Return the value with None in place of each NaN and infinity, for text that must not fail because of a number."""
    if isinstance(body, float):
        return body if math.isfinite(body) else None
    if isinstance(body, dict):
        return {key: finite(value) for key, value in body.items()}
    if isinstance(body, list | tuple):
        return [finite(value) for value in body]
    return body


def _text(body: Any, **options: Any) -> str:
    try:
        return json.dumps(body, allow_nan=False, **options)
    except ValueError as error:
        non_finite = _first_non_finite(body)
        if non_finite is None:
            raise
        key, value = non_finite
        raise NonFiniteNumberError(
            f"{key or 'value'} is {value}, which JSON cannot hold. Scale the numbers it is computed from down"
        ) from error


def _first_non_finite(body: Any, key: str = "") -> tuple[str, float] | None:
    """Return key and value of the first number that is not finite, None if all are."""
    if isinstance(body, float) and not math.isfinite(body):
        return key, body
    items: Any = ()
    if isinstance(body, dict):
        items = ((f"{key}.{name}" if key else str(name), value) for name, value in body.items())
    elif isinstance(body, list | tuple):
        items = ((f"{key}[{index}]", value) for index, value in enumerate(body))
    return next((hit for item_key, value in items if (hit := _first_non_finite(value, item_key))), None)
