"""The configurations of all pipelines of a project."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from ai_workflow.config import loader, pipeline_folders
from ai_workflow.config.loader import Loaded
from ai_workflow.config.problems import ConfigError, Problem


def load(
    root: Path,
    names: Collection[str] | None = None,
    *,
    environment: str | None = None,
    overrides: Mapping[str, Any] | None = None,
    env: Mapping[str, str] | None = None,
) -> dict[str, Loaded]:
    """Return the configuration of each pipeline in `pipelines/`, by name.

    Args:
        root: the folder of the project.
        names: the pipelines; all if not given.
        environment: the environment; AIW_ENVIRONMENT, else `development`, if not given.
        overrides: settings above all layers.
        env: the environment variables; those of this process if not given.

    Raises:
        ConfigError: with every problem of every pipeline, or a name is none.
    """
    pipelines: dict[str, Loaded] = {}
    folders = pipeline_folders.find(root)
    known = ", ".join(folder.name for folder in folders) or "none"
    unknown = sorted({*(names or ())} - {folder.name for folder in folders})
    problems = [Problem("pipelines", 0, "", f"there is no pipeline {name}; there are: {known}") for name in unknown]
    for folder in folders if names is None else [folder for folder in folders if folder.name in names]:
        try:
            loaded = loader.load(root / folder.file, environment=environment, overrides=overrides, root=root, env=env)
        except ConfigError as error:
            problems += error.problems
            continue
        pipelines[folder.name] = loaded
        if loaded.settings.pipeline != folder.name:
            problems.append(_other_name(loaded, folder))
    if problems:
        raise ConfigError(problems)
    return pipelines


def _other_name(loaded: Loaded, folder: pipeline_folders.PipelineFolder) -> Problem:
    origin = loaded.origin("pipeline") or ""
    file, _, line = origin.rpartition(":")
    if file != folder.file:
        return Problem(folder.file, 0, "pipeline", f"required key is missing. Write pipeline: {folder.name}")
    message = f"'{loaded.settings.pipeline}' is not the name of its folder. Write pipeline: {folder.name}"
    return Problem(folder.file, int(line) if line.isdigit() else 0, "pipeline", message)
