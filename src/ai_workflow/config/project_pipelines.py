"""The configurations of all pipelines of a project."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ai_workflow.config import loader, pipeline_folders
from ai_workflow.config.loader import Loaded
from ai_workflow.config.problems import ConfigError, Problem


def load(root: Path, *, environment: str | None = None, env: Mapping[str, str] | None = None) -> dict[str, Loaded]:
    """Return the configuration of each pipeline in `pipelines/`, by name.

    Args:
        root: the folder of the project.
        environment: the environment; AIW_ENVIRONMENT, else `development`, if not given.
        env: the environment variables; those of this process if not given.

    Raises:
        ConfigError: with every problem of every pipeline.
    """
    pipelines: dict[str, Loaded] = {}
    problems: list[Problem] = []
    for folder in pipeline_folders.find(root):
        try:
            loaded = loader.load(root / folder.file, environment=environment, root=root, env=env)
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
