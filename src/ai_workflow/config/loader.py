"""The configuration: layers of YAML, later wins -> `${VAR}` filled in -> typed, frozen `Settings`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ai_workflow.config import reader, variables
from ai_workflow.config.check import Checker
from ai_workflow.config.layers import DEFAULT_ENVIRONMENT, OVERRIDE, Layer, find, project_root
from ai_workflow.config.merge import members, origins, override_tree, stack
from ai_workflow.config.problems import ConfigError, Problem
from ai_workflow.config.reader import Node
from ai_workflow.config.settings import Settings
from ai_workflow.config.values import Filler, named_variables, quiet
from ai_workflow.storage.file_names import require_utf8

__all__ = ["ConfigError", "Layer", "Loaded", "Problem", "load"]


@dataclass(frozen=True)
class Loaded:
    """The settings, the layers they came from, and where each key was set."""

    settings: Settings
    layers: tuple[Layer, ...]
    _origins: Mapping[str, str] = field(repr=False)

    def origin(self, key: str) -> str | None:
        """Return `file:line` of a dotted key, `override`, or None where the built-in default holds."""
        return self._origins.get(key)


def load(
    pipeline: str | Path | None = None,
    *,
    environment: str | None = None,
    overrides: Mapping[str, Any] | None = None,
    root: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> Loaded:
    """Read, merge, fill in and check the configuration; secrets are not looked up.

    Args:
        pipeline: a YAML file that is laid over all others; relative to the current folder, else to `root`.
        environment: else AIW_ENVIRONMENT, else `development`.
        overrides: nested, or with dotted keys at the top; laid over the files. Paths are relative to `root`.
        root: the folder that holds `config/`; else AIW_ROOT, the current folder, this project.
        env: stands in for the environment variables.

    Raises:
        ConfigError: with every problem of every layer.
        StageError: the name of the file, of the current folder or of the store is not UTF-8.
    """
    require_utf8(str(pipeline or ""), "pipeline file")
    require_utf8(str(Path.cwd()), "current folder")
    env = os.environ if env is None else env
    root = project_root(root, env)
    named = environment or env.get("AIW_ENVIRONMENT")
    name = named or DEFAULT_ENVIRONMENT
    layers, problems = find(root, named or None, Path(pipeline) if pipeline else None, env)
    if any(problem.file == "environment" for problem in problems):
        name = DEFAULT_ENVIRONMENT
    trees = _read(layers, problems)
    partial = bool(problems)
    named_in_layers = [name for layer in trees for name in named_variables(layer)]
    problems += [Problem("environment", 0, "", message) for message in variables.unknown(env, named_in_layers)]
    over, found = override_tree(overrides or {}, env)
    layers.append(Layer(None, bool(overrides), "given by the caller" if overrides else "not given", OVERRIDE))
    tree = stack([*trees, over], env)
    folders = {layer.name: layer.path.parent for layer in layers if layer.path} | {OVERRIDE: root}
    settings, wrong = _settings(tree, name, Filler(env, folders), partial)
    problems += found + _other_environment(tree, name, env) + wrong
    if problems or settings is None:
        raise ConfigError(_sorted(problems, layers))
    require_utf8(settings.store.root, "store.root")
    chosen = {"environment": "argument" if environment else "AIW_ENVIRONMENT"} if named else {}
    return Loaded(settings, tuple(layers), origins(tree) | chosen)


def _read(layers: list[Layer], problems: list[Problem]) -> list[Node]:
    trees = []
    for layer in layers:
        if layer.found and layer.path:
            tree, found = reader.read(layer.path, layer.name)
            problems += found
            trees += [tree] if tree else []
    return trees


def _settings(tree: Node, name: str, filler: Filler, partial: bool) -> tuple[Settings | None, list[Problem]]:
    values = filler.fill(tree)
    assert isinstance(values, dict)
    settings, wrong = Checker(tree, filler.bad, partial).settings(values | {"environment": name})
    return settings, filler.problems + wrong


def _other_environment(tree: Node, name: str, env: Mapping[str, str]) -> list[Problem]:
    node = members(tree).get("environment")
    if node is None or quiet(node, env) == name:
        return []
    said = f"the environment is {name}: AIW_ENVIRONMENT or the argument chooses it, a file cannot; remove the key"
    return [Problem(node.file, node.line, "environment", said)]


def _sorted(problems: list[Problem], layers: list[Layer]) -> list[Problem]:
    order = {layer.name: index for index, layer in enumerate(layers)}
    return sorted(problems, key=lambda problem: (order.get(problem.file, -1), problem.line))
