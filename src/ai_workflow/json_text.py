"""The one writer of JSON: UTF-8, keys in order, and never a NaN or an infinity, which JSON does not have."""

from __future__ import annotations

import json
import math
from typing import Any

from ai_workflow.errors import AiWorkflowError


class NonFiniteNumberError(AiWorkflowError):
    """A NaN or an infinity was to be written."""


def line(body: Any, *, sort_keys: bool = True, ensure_ascii: bool = False, compact: bool = False) -> str:
    """Return JSON in one line.

    Raises:
        NonFiniteNumberError: it holds a NaN or an infinity; the message names the key.
    """
    return _text(body, sort_keys=sort_keys, ensure_ascii=ensure_ascii, separators=(",", ":") if compact else None)


def document(body: Any, *, indent: int = 1) -> bytes:
    """Return JSON over several lines, with a newline at its end.

    Raises:
        NonFiniteNumberError: it holds a NaN or an infinity; the message names the key.
    """
    return (_text(body, sort_keys=True, ensure_ascii=False, indent=indent) + "\n").encode()


def finite(body: Any) -> Any:
    """Return the same with None for each NaN and infinity: for text about a run, which must not fail for a number."""
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
        found = _place(body)
        if found is None:
            raise
        place, value = found
        raise NonFiniteNumberError(
            f"{place or 'value'} is {value}, which JSON cannot hold. Scale the numbers it is computed from down"
        ) from error


def _place(body: Any, place: str = "") -> tuple[str, float] | None:
    """Return key and value of the first number that is not finite."""
    if isinstance(body, float) and not math.isfinite(body):
        return place, body
    items: Any = ()
    if isinstance(body, dict):
        items = ((f"{place}.{key}" if place else str(key), value) for key, value in body.items())
    elif isinstance(body, list | tuple):
        items = ((f"{place}[{number}]", value) for number, value in enumerate(body))
    return next((found for at, value in items if (found := _place(value, at))), None)
