"""What the settings allow at a place, read off the models themselves: types of values and names of keys."""

from __future__ import annotations

import types
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel

from ai_workflow.secrets import Secret
from ai_workflow.settings import Settings

KeyPath = tuple[str | int, ...]

# What `config.py` drops when a layer names another pipeline; the other keys belong to the place it runs in.
_PLACE_KEYS = frozenset(
    (
        "environment",
        "store",
        "model",
        "database",
        "logging",
        "recovery",
        "service",
        "relay",
        "chat",
        "reactions",
        "deploy",
    )
)
PIPELINE_KEYS = frozenset(field.alias or name for name, field in Settings.model_fields.items()) - _PLACE_KEYS


def types_at(path: KeyPath) -> frozenset[Any]:
    """Return the types that the place takes: classes, `Any`, or nothing at all where there is no such place."""
    found: list[Any] = [Settings]
    for part in path:
        found = [inner for outer in found for inner in _inside(outer, part)]
    return frozenset(get_origin(item) or item for item in found)


def takes_secret(path: KeyPath) -> bool:
    """Whether the field is one whose value is never shown."""
    return Secret in types_at(path)


def takes_only_text(path: KeyPath) -> bool:
    """Whether the field takes text, and neither a number nor true or false."""
    found = types_at(path)
    return str in found and not found & {int, float, bool, Any}


def takes_number_not_bool(path: KeyPath) -> bool:
    """Whether true and false would pass for 1 and 0 in this field."""
    found = types_at(path)
    return bool(found & {int, float}) and not found & {bool, Any}


def is_union(path: KeyPath) -> bool:
    """Whether the place takes mappings of several kinds, so that pydantic names the kind in its errors."""
    return len(_models(path)) > 1


def keys_at(path: KeyPath, kind: object = None) -> Sequence[str]:
    """Return the keys that the mapping at the place may have; of several kinds of mapping only the one given."""
    models = _models(path)
    chosen = [model for model in models if kind in _kinds(model)] or models
    return sorted({name for model in chosen for name, _ in _fields(model)})


def _models(path: KeyPath) -> list[type[BaseModel]]:
    return [item for item in types_at(path) if isinstance(item, type) and issubclass(item, BaseModel)]


def _kinds(model: type[BaseModel]) -> tuple[Any, ...]:
    field = model.model_fields.get("kind")
    return get_args(field.annotation) if field else ()


def _fields(model: type[BaseModel]) -> Iterator[tuple[str, Any]]:
    for name, field in model.model_fields.items():
        yield field.alias or name, field.annotation


def _inside(outer: Any, part: str | int) -> list[Any]:
    origin, arguments = get_origin(outer), get_args(outer)
    if outer is Any:
        return [Any]
    if isinstance(outer, type) and issubclass(outer, BaseModel):
        return [item for name, annotation in _fields(outer) if name == part for item in _flat(annotation)]
    if origin is dict and isinstance(part, str):
        return _flat(arguments[1])
    if origin is tuple and isinstance(part, int):
        return _flat(arguments[0])
    return []


def _flat(annotation: Any) -> list[Any]:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _flat(arguments[0])
    if origin is Literal:
        return [type(value) for value in arguments]
    if origin in (Union, types.UnionType):
        return [item for argument in arguments for item in _flat(argument)]
    return [annotation]
