"""Merge of the layers: mappings merge, other values replace, and another pipeline resets the keys of the pipeline."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ai_workflow.config.layers import OVERRIDE
from ai_workflow.config.problems import Problem
from ai_workflow.config.reader import MAX_DEPTH, Node
from ai_workflow.config.schema import KeyPath, scope_at
from ai_workflow.config.values import filled_or_raw
from ai_workflow.secret_values import Secret

Members = dict[str, Node]


def merge_layers(trees: Iterable[Node], env: Mapping[str, str]) -> Node:
    """Merge layers, lowest first; the origin of the top is the last layer that names a pipeline, else the first."""
    merged = Node({})
    for tree in trees:
        below, above = members(merged), members(tree)
        if _differ("pipeline", below, above, env):
            below = _deployment_keys(below, ())
        top = tree if "pipeline" in above or not merged.file else merged
        merged = Node(_merge_members(below, above, env, ()), top.file, top.line)
    return merged


def members(node: Node | None) -> Members:
    """Return the members of a mapping; empty for other values."""
    return node.value if node and isinstance(node.value, dict) else {}


def at(root: Node, path: KeyPath) -> Node | None:
    """Return the node at the path, or None."""
    node: Node | None = root
    for part in path:
        if isinstance(part, str):
            node = members(node).get(part)
        elif node and isinstance(node.value, list) and part < len(node.value):
            node = node.value[part]
        else:
            return None
    return node


def origins(node: Node, path: str = "") -> dict[str, str]:
    """Return `file:line` by dotted key for all keys of a tree; items of a list are keyed by index."""
    locations = {path: node.location} if path else {}
    items = enumerate(node.value) if isinstance(node.value, list) else members(node).items()
    for key, child in items:
        locations |= origins(child, f"{path}.{key}" if path else str(key))
    return locations


def override_tree(overrides: Mapping[str, Any], env: Mapping[str, str]) -> tuple[Node, list[Problem]]:
    """Return the tree of overrides (nested mappings, or dotted keys), and the problems of unsupported values."""
    problems: list[Problem] = []
    tree = Node({}, OVERRIDE)
    for dotted, value in overrides.items():
        parts = str(dotted).split(".")
        if not isinstance(dotted, str) or len(parts) > MAX_DEPTH:
            problems.append(Problem(OVERRIDE, 0, str(dotted)[:80], "a key must be text of a few parts"))
        elif node := _node(value, tuple(parts), problems):
            for part in reversed(parts):
                node = Node({part: node}, OVERRIDE)
            tree = Node(_merge_members(members(tree), members(node), env, ()), OVERRIDE)
    return tree, problems


def _merge_members(below: Members, above: Members, env: Mapping[str, str], path: KeyPath) -> Members:
    return below | {key: _merge_node(below.get(key), child, env, (*path, key)) for key, child in above.items()}


def _merge_node(below: Node | None, above: Node, env: Mapping[str, str], path: KeyPath) -> Node:
    if below is None or not isinstance(below.value, dict) or not isinstance(above.value, dict):
        return above
    kept: Members = below.value
    if _differ("kind", below.value, above.value, env):
        kept = _deployment_keys(below.value, path)
    return Node(_merge_members(kept, above.value, env, path), above.file, above.line)


def _deployment_keys(below: Members, path: KeyPath) -> Members:
    """Return the keys whose scope is `deployment`, and unknown keys at the top, which are reported later."""
    kept: Members = {}
    for key, child in below.items():
        scope = scope_at((*path, key))
        if scope == "deployment" or (scope is None and not path):
            kept[key] = child
        elif inner := _deployment_keys(members(child), (*path, key)):
            kept[key] = Node(inner, child.file, child.line)
    return kept


def _differ(key: str, below: Members, above: Members, env: Mapping[str, str]) -> bool:
    return key in below and key in above and filled_or_raw(below[key], env) != filled_or_raw(above[key], env)


def _node(value: object, path: tuple[str, ...], problems: list[Problem]) -> Node | None:
    """Return the tree of a value without unsupported values, which are added to `problems`."""
    if value is None or isinstance(value, str | int | float | bool | Secret):
        return Node(value, OVERRIDE)
    if len(path) > MAX_DEPTH:
        message = "nested too deeply"
    elif isinstance(value, Mapping) and all(isinstance(name, str) for name in value):
        children = {name: _node(child, (*path, name), problems) for name, child in value.items()}
        return Node({name: child for name, child in children.items() if child}, OVERRIDE)
    elif isinstance(value, list | tuple):
        items = [_node(child, (*path, str(index)), problems) for index, child in enumerate(value)]
        return Node([child for child in items if child], OVERRIDE)
    else:
        kind = type(value).__name__
        message = (
            "every key must be text" if isinstance(value, Mapping) else f"no setting can hold a value of type {kind}"
        )
    problems.append(Problem(OVERRIDE, 0, ".".join(path)[:200], message))
    return None
