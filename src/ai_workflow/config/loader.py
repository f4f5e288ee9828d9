"""Loader of the configuration: merge YAML layers, fill in `${VAR}`, validate to frozen `Settings`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ai_workflow.config import own_code, reader, variables
from ai_workflow.config.check import Checker
from ai_workflow.config.layers import DEFAULT_ENVIRONMENT, OVERRIDE, Layer, files_of_pipeline, find, project_root
from ai_workflow.config.merge import members, merge_layers, origins, override_tree
from ai_workflow.config.problems import ConfigError, Problem
from ai_workflow.config.reader import Node
from ai_workflow.config.settings import Settings
from ai_workflow.config.values import Filler, filled_or_raw, named_variables
from ai_workflow.plugins import search_path
from ai_workflow.storage.file_names import require_utf8

__all__ = ["ConfigError", "Layer", "Loaded", "Problem", "load"]


@dataclass(frozen=True)
class Loaded:
    """Settings with their layers, the folders of own code, and the origin of each key."""

    settings: Settings
    layers: tuple[Layer, ...]
    code_folders: tuple[str, ...]
    _origins: Mapping[str, str] = field(repr=False)

    def origin(self, key: str) -> str | None:
        """Return `file:line` of a dotted key, `override`, or None for the built-in default."""
        return self._origins.get(key)


def load(
    pipeline: str | Path | None = None,
    *,
    environment: str | None = None,
    overrides: Mapping[str, Any] | None = None,
    root: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> Loaded:
    """Read, merge, fill in and validate the configuration; secrets are not fetched.

    Args:
        pipeline: the YAML file of the top layer; relative to the current folder, else to `root`.
        environment: the environment; AIW_ENVIRONMENT, else `development`, if not given.
        overrides: settings above all layers, nested or with dotted keys. Paths are relative to `root`.
        root: the folder with `config/`; AIW_ROOT, the current folder, or this project if not given.
        env: the environment variables; those of this process if not given.

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
    override, override_problems = override_tree(overrides or {}, env)
    layers.append(Layer(None, bool(overrides), "given by the caller" if overrides else "not given", OVERRIDE))
    tree = merge_layers([*trees, override], env)
    folders = {layer.name: layer.path.parent for layer in layers if layer.path} | {OVERRIDE: root}
    settings, value_problems = _settings(tree, name, Filler(env, folders), partial)
    problems += override_problems + _other_environment(tree, name, env) + value_problems
    code_folders = search_path.of_pipeline(files_of_pipeline(layers), root)
    if settings is not None:
        search_path.use(code_folders)
        problems += own_code.problems(settings, tree)
    if problems or settings is None:
        raise ConfigError(_sorted(problems, layers))
    require_utf8(settings.store.root, "store.root")
    environment_origin = {"environment": "argument" if environment else "AIW_ENVIRONMENT"} if named else {}
    return Loaded(settings, tuple(layers), tuple(map(str, code_folders)), origins(tree) | environment_origin)


def _read(layers: list[Layer], problems: list[Problem]) -> list[Node]:
    trees = []
    for layer in layers:
        if layer.exists and layer.path:
            tree, file_problems = reader.read(layer.path, layer.name)
            problems += file_problems
            trees += [tree] if tree else []
    return trees


def _settings(tree: Node, name: str, filler: Filler, partial: bool) -> tuple[Settings | None, list[Problem]]:
    values = filler.fill(tree)
    assert isinstance(values, dict)
    settings, problems = Checker(tree, filler.bad, partial).settings(values | {"environment": name})
    return settings, filler.problems + problems


def _other_environment(tree: Node, name: str, env: Mapping[str, str]) -> list[Problem]:
    node = members(tree).get("environment")
    if node is None or filled_or_raw(node, env) == name:
        return []
    message = f"the environment is {name}: AIW_ENVIRONMENT or the argument chooses it, a file cannot; remove the key"
    return [Problem(node.file, node.line, "environment", message)]


def _sorted(problems: list[Problem], layers: list[Layer]) -> list[Problem]:
    order = {layer.name: index for index, layer in enumerate(layers)}
    return sorted(problems, key=lambda problem: (order.get(problem.file, -1), problem.line))
