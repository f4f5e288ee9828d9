"""Schema of the settings by path, from the pydantic models: types, keys, scopes, file paths."""

from __future__ import annotations

import functools
import types
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from ai_workflow.config.settings import Settings
from ai_workflow.config.settings.config_model import RELATIVE_TO_FILE, ConfigModel, Scope, Scoped
from ai_workflow.secret_values import Secret

KeyPath = tuple[str | int, ...]


def types_at(path: KeyPath) -> frozenset[Any]:
    """Return the types of a path: classes or `Any`; empty if there is no such path."""
    return frozenset(get_origin(item) or item for item in _annotations(path))


def takes_secret(path: KeyPath) -> bool:
    """Return whether a field holds a secret."""
    return Secret in types_at(path)


def takes_only_text(path: KeyPath) -> bool:
    """Return whether a field accepts text, but no number or boolean."""
    types = types_at(path)
    return str in types and not types & {int, float, bool, Any}


def takes_number_not_bool(path: KeyPath) -> bool:
    """Return whether a field accepts numbers, for which pydantic would accept true and false as 1 and 0."""
    types = types_at(path)
    return bool(types & {int, float}) and not types & {bool, Any}


def takes_file_path(path: KeyPath) -> bool:
    """Return whether a field, or a value of a mapping, holds a local path relative to the file that sets it."""
    return RELATIVE_TO_FILE in [*_marks(path), *_marks(path[:-1])]


def scope_at(path: KeyPath) -> Scope | None:
    """Return the declared scope of a key, or None if there is no such key."""
    scope: Scope | None = None
    for length in range(1, len(path) + 1):
        part = path[:length]
        if not types_at(part):
            return None
        marked = [mark.scope for mark in _marks(part) if isinstance(mark, Scoped)]
        sections = [model.scope for model in _sections(part)]
        above = [model.scope for model in _sections(part[:-1])]
        scope = next(iter([*marked, *sections]), scope or next(iter(above), None))
    return scope


def is_union(path: KeyPath) -> bool:
    """Return whether a path accepts mappings of several kinds; errors of pydantic then contain the kind."""
    return len(_models(path)) > 1


def keys_at(path: KeyPath, kind: object = None) -> Sequence[str]:
    """Return the keys of the mapping at a path; of several kinds of mapping, only those of `kind`."""
    models = _models(path)
    chosen = [model for model in models if kind in _kinds(model)]
    chosen = chosen or [model for model in models if _takes_any_kind(model)] or models
    return sorted({name for model in chosen for name, _ in _fields(model)})


@functools.lru_cache(4096)  # a check of one file looks at each of its paths a dozen times
def _annotations(path: KeyPath) -> tuple[Any, ...]:
    if not path:
        return (Settings,)
    return tuple(inner for outer in _annotations(path[:-1]) for inner in _inside(outer, path[-1]))


def _members(outer: Any) -> list[Any]:
    """Return the annotations of the items of a list or mapping, else the annotation itself."""
    origin, arguments = get_origin(outer), get_args(outer)
    if origin in (dict, tuple):
        return _flat(arguments[1] if origin is dict else arguments[0])
    return [outer]


def _models(path: KeyPath) -> list[type[BaseModel]]:
    return [item for item in types_at(path) if isinstance(item, type) and issubclass(item, BaseModel)]


def _sections(path: KeyPath) -> list[type[ConfigModel]]:
    """Return the sections at a path, or the sections of the items of a list or mapping."""
    inner = [item for outer in _annotations(path) for item in _members(outer)]
    return [item for item in inner if isinstance(item, type) and issubclass(item, ConfigModel)]


def _marks(path: KeyPath) -> list[Any]:
    """Return the metadata of a field in all sections at the path above."""
    if not path:
        return []
    models = _models(path[:-1])
    fields = [field for model in models for name, field in _named(model) if name == path[-1]]
    return [mark for field in fields for mark in field.metadata]


def _kinds(model: type[BaseModel]) -> tuple[Any, ...]:
    field = model.model_fields.get("kind")
    return get_args(field.annotation) if field else ()


def _takes_any_kind(model: type[BaseModel]) -> bool:
    """Return whether the kind of a section is a name of own code."""
    field = model.model_fields.get("kind")
    return field is not None and field.annotation is str


def _fields(model: type[BaseModel]) -> Iterator[tuple[str, Any]]:
    for name, field in _named(model):
        yield name, field.annotation


def _named(model: type[BaseModel]) -> Iterator[tuple[str, FieldInfo]]:
    for name, field in model.model_fields.items():
        yield field.alias or name, field


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
