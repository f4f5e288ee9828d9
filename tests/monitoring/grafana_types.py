"""A dashboard's JSON against Grafana's own types: those of the SDK that is generated from Grafana's schema.

The SDK reads anything and writes what it was given: `from_json` drops what it does not know and checks no value. Its
classes say it all the same: their annotations give the types, and what `to_json` writes gives the keys.
"""

from __future__ import annotations

import enum
import types
import typing
import warnings
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any

from grafana_foundation_sdk.cog import plugins, runtime, variants
from grafana_foundation_sdk.models import common, dashboard

# Data sources that ask nothing outside: Grafana's own annotations, and several at once.
_BUILT_IN = {"grafana", "datasource", "-- Mixed --"}
_SIMPLE: dict[Any, tuple[tuple[type, ...], str]] = {
    str: ((str,), "text"),
    bool: ((bool,), "true or false"),
    int: ((int,), "a whole number"),
    float: ((int, float), "a number"),
    type(None): ((type(None),), "null"),
}


def faults(board: Any) -> list[str]:
    """Return what Grafana's types have against a dashboard, each with its path such as `$.panels[2].gridPos.w`."""
    _variants()
    return list(_check(dashboard.Dashboard, board, "$"))


@cache
def _variants() -> runtime.Runtime:
    plugins.register_default_plugins()
    return runtime.Runtime()


@cache
def _keys(of: type) -> dict[str, tuple[Any, bool]]:
    """Return the keys of a class: the type of each, and whether it has to be there."""
    hints = typing.get_type_hints(of)
    marks = {name: object() for name in hints}
    names = {id(mark): name for name, mark in marks.items()}
    required = _written(of, dict.fromkeys(hints)).keys()
    return {key: (hints[names[id(mark)]], key in required) for key, mark in _written(of, marks).items()}


def _written(of: type, values: Mapping[str, object]) -> dict[str, object]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of the classic JSON, which files are read as
        made: Any = object.__new__(of)
    vars(made).update(values)
    found: dict[str, object] = made.to_json()
    return found


def _check(kind: Any, value: Any, path: str) -> Iterator[str]:
    """Yield what a type has against a value."""
    origin = typing.get_origin(kind)
    if kind in (object, Any):
        return
    if origin in (typing.Union, types.UnionType):
        yield from _check_union(typing.get_args(kind), value, path)
    elif origin is list:
        yield from _check_list(typing.get_args(kind)[0], value, path)
    elif origin is dict:
        yield from _check_map(typing.get_args(kind)[1], value, path)
    elif origin is typing.Literal:
        yield from _one_of(typing.get_args(kind), value, path)
    elif kind in _SIMPLE:
        allowed, name = _SIMPLE[kind]
        if not isinstance(value, allowed) or (isinstance(value, bool) and kind is not bool):
            yield f"{path}: {value!r} is not {name}"
    elif issubclass(kind, enum.Enum):
        yield from _one_of([one.value for one in kind], value, path)
    elif kind is variants.Dataquery:
        yield from _check_query(value, path)
    else:
        yield from _check_object(kind, value, path)


def _check_union(kinds: tuple[Any, ...], value: Any, path: str) -> Iterator[str]:
    """Yield what the type has against it that has the least; of panels, what the one of its own kind has."""
    if set(kinds) == {dashboard.Panel, dashboard.RowPanel}:
        is_row = isinstance(value, dict) and value.get("type") == "row"
        kinds = (dashboard.RowPanel if is_row else dashboard.Panel,)
    if value is None and type(None) in kinds:
        return
    found = [list(_check(kind, value, path)) for kind in kinds if kind is not type(None)]
    yield from min(found, key=len)


def _check_list(inner: Any, value: Any, path: str) -> Iterator[str]:
    if not isinstance(value, list):
        yield f"{path}: {value!r} is not a list"
        return
    for index, item in enumerate(value):
        yield from _check(inner, item, f"{path}[{index}]")


def _check_map(inner: Any, value: Any, path: str) -> Iterator[str]:
    if not isinstance(value, dict):
        yield f"{path}: {value!r} is not an object"
        return
    for key, item in value.items():
        yield from _check(inner, item, f"{path}.{key}")


def _one_of(values: Any, value: Any, path: str) -> Iterator[str]:
    if not any(value == one and type(value) is type(one) for one in values):
        yield f"{path}: {value!r} is none of {', '.join(map(repr, values))}"


def _check_object(of: type, value: Any, path: str) -> Iterator[str]:
    if not isinstance(value, dict):
        yield f"{path}: {value!r} is not an object"
        return
    known = _keys(of)
    yield from (f"{path}.{key}: {of.__name__} has no such key" for key in value.keys() - known.keys())
    for key, (kind, is_required) in known.items():
        if key in value:
            yield from _check(kind, value[key], f"{path}.{key}")
        elif is_required:
            yield f"{path}.{key}: missing"
    if more := _MORE.get(of):
        yield from more(value, path)


def _check_source(value: dict[str, Any], path: str) -> Iterator[str]:
    """The schema takes any text for a data source's type; only some have queries."""
    if "type" in value:
        yield from _one_of(sorted(_BUILT_IN | _variants().dataquery_variants.keys()), value["type"], f"{path}.type")


def _check_panel(panel: dict[str, Any], path: str) -> Iterator[str]:
    """Yield what a panel's own type has against its options and the way it draws fields."""
    known = _variants().panelcfg_variants
    config = known.get(str(panel.get("type")))
    if config is None:
        yield from _one_of(sorted(known), panel.get("type"), f"{path}.type")
        return
    if config.options_from_json_hook and "options" in panel:
        yield from _check(_class(config.options_from_json_hook), panel["options"], f"{path}.options")
    custom = _at(panel, "fieldConfig", "defaults", "custom")
    if config.field_config_from_json_hook and custom is not None:
        of = _class(config.field_config_from_json_hook)
        yield from _check(of, custom, f"{path}.fieldConfig.defaults.custom")


def _check_query(query: Any, path: str) -> Iterator[str]:
    """Yield what the query class of its data source has against a query."""
    config = _variants().dataquery_variants.get(str(_at(query, "datasource", "type")))
    if config:
        yield from _check_object(_class(config.from_json_hook), query, path)
    else:
        yield f"{path}: a query without a data source that is known"


def _at(value: Any, *keys: str) -> Any:
    """Return what lies under these keys, None where nothing does."""
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _class(hook: Any) -> type:
    found: type = hook.__self__
    return found


_MORE: dict[type, Callable[[dict[str, Any], str], Iterator[str]]] = {
    dashboard.Panel: _check_panel,
    common.DataSourceRef: _check_source,
}
