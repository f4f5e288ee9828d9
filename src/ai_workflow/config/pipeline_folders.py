"""The pipelines of a project: each is a folder `pipelines/<name>` with the file `pipeline.yaml`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from ai_workflow.config.problems import ConfigError, Problem

FOLDER, FILE = "pipelines", "pipeline.yaml"
# Begins the tag of the deployments and runs of a pipeline.
TAG = "pipeline:"
# A Python identifier, so that `pipelines/credit/features.py` can be the module `credit.features`.
NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
_NOT_A_NAME = "is not a name of a pipeline: 1 to 63 of a-z, 0-9 and _, beginning with a letter. Rename the folder"


@dataclass(frozen=True, slots=True)
class PipelineFolder:
    """A pipeline of the project: its name, and its file relative to the folder of the project."""

    name: str

    @property
    def file(self) -> str:
        """The path of its file, relative to the folder of the project."""
        return f"{FOLDER}/{self.name}/{FILE}"


def find(root: Path) -> list[PipelineFolder]:
    """Return the pipelines of a project by name; none without a folder `pipelines`.

    Args:
        root: the folder of the project.

    Raises:
        ConfigError: a folder has no pipeline file, or no valid name; with every problem.
    """
    top = root / FOLDER
    folders = sorted(path for path in top.iterdir() if path.is_dir()) if top.is_dir() else []
    folders = [folder for folder in folders if not folder.name.startswith((".", "_"))]
    problems = [problem for folder in folders if (problem := _problem(folder))]
    if problems:
        raise ConfigError(problems)
    return [PipelineFolder(folder.name) for folder in folders]


def names(root: Path) -> list[str]:
    """Return the names of the folders of a project that have a pipeline file."""
    return sorted(path.parent.name for path in (root / FOLDER).glob(f"*/{FILE}"))


def file_of(root: Path, name: str) -> Path | None:
    """Return the file of the pipeline with this name, None if the project has none."""
    path = root / PipelineFolder(name).file
    return path if NAME.fullmatch(name) and path.is_file() else None


def _problem(folder: Path) -> Problem | None:
    shown = f"{FOLDER}/{folder.name}"
    if not NAME.fullmatch(folder.name):
        return Problem(shown, 0, "", _NOT_A_NAME)
    if not (folder / FILE).is_file():
        return Problem(shown, 0, "", f"has no {FILE}. Add it, or remove the folder")
    return None
