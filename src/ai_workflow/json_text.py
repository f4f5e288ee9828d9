"""JSON writer of the package: UTF-8, sorted keys, no NaN or infinity, which JSON does not have."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Callable
from functools import cache, lru_cache
from typing import Any

import orjson

from ai_workflow.errors import AiWorkflowError

# Levels of a document with a line for each item.
_LEVELS = 2
_LONG = 32
_PLAIN: dict[str, Any] = {"sort_keys": True, "ensure_ascii": False, "separators": None, "default": None}


class NonFiniteNumberError(AiWorkflowError):
    """A value to be written as JSON has a NaN or an infinity."""


def line(
    body: Any,
    *,
    sort_keys: bool = True,
    ensure_ascii: bool = False,
    compact: bool = False,
    default: Callable[[Any], Any] | None = None,
) -> str:
    """Return a value as JSON on one line; `default` converts objects that JSON does not have.

    Raises:
        NonFiniteNumberError: the value has a NaN or an infinity; the message names the key.
    """
    if sort_keys and default is None and not ensure_ascii and not compact:
        with contextlib.suppress(NonFiniteNumberError):
            return _line(body)
        # Again as a whole, so that the message has the full key.
    separators = (",", ":") if compact else None
    return _text(body, sort_keys=sort_keys, ensure_ascii=ensure_ascii, separators=separators, default=default)


def indented(body: Any, *, indent: int) -> str:
    """Return a value as JSON with a line for each key and item, and a newline at the end.

    Raises:
        NonFiniteNumberError: the value has a NaN or an infinity; the message names the key.
    """
    return _text(body, sort_keys=True, ensure_ascii=False, indent=indent) + "\n"


def document(body: Any) -> bytes:
    """Return a value as JSON with a line for each key and item of its first two levels, and a newline at the end.

    Deeper values are on one line: Python writes long indented lists ten times as slowly.

    Raises:
        NonFiniteNumberError: the value has a NaN or an infinity; the message names the key.
    """
    try:
        return (_lines(body, _LEVELS) + "\n").encode()
    except NonFiniteNumberError:
        # Again as a whole, so that the message has the full key.
        return line(body).encode()


def finite(body: Any) -> Any:
    """Return the value with None in place of each NaN and infinity, for text that must not fail because of a number."""
    if isinstance(body, float):
        return body if math.isfinite(body) else None
    if isinstance(body, dict):
        return {key: finite(value) for key, value in body.items()}
    if isinstance(body, list | tuple):
        return [finite(value) for value in body]
    return body


def _lines(value: Any, levels: int, indent: str = "\n ") -> str:
    if not levels or not value or not isinstance(value, dict | list | tuple):
        return line(value)
    deeper = f"{indent} "
    if not isinstance(value, dict):
        return "[" + ",".join(indent + _lines(item, levels - 1, deeper) for item in value) + indent[:-1] + "]"
    # The text of a key, which need not be a string, is that of an object with one key.
    keys = [(line({key: 0})[1 : -len(": 0}")], value[key]) for key in sorted(value)]
    items = [f"{indent}{key}: {_lines(item, levels - 1, deeper)}" for key, item in keys]
    return "{" + ",".join(items) + indent[:-1] + "}"


def _line(value: Any) -> str:
    """Return a value as JSON on one line; long lists of numbers take a tenth of the time of Python's writer."""
    if isinstance(value, dict) and any(isinstance(item, dict | list) for item in value.values()):
        if all(type(key) is str for key in value):
            return "{" + ", ".join([f"{_key(key)}: {_line(value[key])}" for key in sorted(value)]) + "}"
    elif type(value) is int or (type(value) is float and math.isfinite(value)):
        return repr(value)
    elif isinstance(value, list) and len(value) >= _LONG and set(map(type, value)) == {float}:
        text = orjson.dumps(value)
        # Python writes these numbers in another way, and refuses NaN and infinity.
        if not any(part in text for part in (b"e", b"0.0000", b"null")):
            return text.replace(b",", b", ").decode()
    return _text(value, **_PLAIN)


@lru_cache(4096)
def _key(key: str) -> str:
    return _text(key, **_PLAIN)


@cache
def _encoder(**options: Any) -> json.JSONEncoder:
    return json.JSONEncoder(allow_nan=False, **options)


def _text(body: Any, **options: Any) -> str:
    try:
        return _encoder(**options).encode(body)
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
