"""Values of JSON objects: their kinds, and their conversion to a column without loss of digits."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal

from ai_workflow.datasets import source_columns
from ai_workflow.datasets.category_spelling import json_text
from ai_workflow.datasets.source_columns import DetectedKind

if TYPE_CHECKING:
    import pyarrow as pa

# `long`: a whole number that float64 cannot hold. Whole numbers beyond 64 bits are text.
ValueKind = DetectedKind | Literal["long", "nested"]
_EXACT, _LONG = 2**53, 2**63
_PLAIN: dict[type, ValueKind] = {bool: "boolean", float: "number", str: "string", type(None): "unknown"}


class RepeatedKeyError(ValueError):
    """An object has a key twice; the text is the key."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        names = [name for name, _ in pairs]
        raise RepeatedKeyError(next(name for name in names if names.count(name) > 1))
    return members


_DECODER = json.JSONDecoder(object_pairs_hook=_object)


def parse(line: str) -> Any:
    """Return the value of a JSON text; whole numbers of any size are exact, and NaN and Infinity are accepted.

    Raises:
        RepeatedKeyError: an object has a key twice.
        ValueError: the text is not JSON.
        RecursionError: it is nested too deeply.
    """
    return _DECODER.decode(line)


def kind_of(value: Any) -> ValueKind:
    """Return the kind of a single value."""
    if type(value) is int:
        return "integer" if -_EXACT <= value <= _EXACT else "long" if -_LONG <= value < _LONG else "string"
    return _PLAIN.get(type(value), "nested")


def column_kind(kinds: Iterable[ValueKind]) -> DetectedKind:
    """Return the kind of a column: text if the values have several kinds that no number can hold."""
    distinct = set(kinds) - {"unknown", "nested"}
    if "long" in distinct:
        distinct = distinct - {"long"} | ({"string"} if "number" in distinct else {"integer"})
    return source_columns.common_kind(distinct) or "string"  # type: ignore[arg-type]


def array(values: Sequence[Any], kind: DetectedKind) -> pa.Array:
    """Return values as an Arrow array; numbers and booleans in a column of text are their JSON text.

    Raises:
        UnicodeEncodeError: a text has half of a surrogate pair.
    """
    import pyarrow as pa

    if kind == "string":
        return pa.array(map(json_text, values), pa.string())
    if kind == "number":
        return pa.array([None if value is None else float(value) for value in values], pa.float64())
    return pa.array(values, source_columns.arrow_type(kind))
