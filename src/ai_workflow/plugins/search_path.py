"""Folders in which own code is found: those of the pipeline in use, and those of AIW_CODE_PATH."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterable
from pathlib import Path

VARIABLE = "AIW_CODE_PATH"
_PIPELINES = "pipelines"
# The folders of the pipeline in use, and whether `use` appended them to `sys.path`.
_FOLDERS: dict[str, bool] = {}


def of_pipeline(files: Iterable[Path], root: Path) -> list[Path]:
    """Return the folders of the files of a pipeline and of its project, in the order in which they are searched.

    For `pipelines/credit/pipeline.yaml` these are `pipelines/credit`, `pipelines` and the project.
    """
    own = [file.parent for file in files]
    above = [folder.parent for folder in own if folder.parent.name == _PIPELINES]
    return list(dict.fromkeys([*own, *above, root]))


def use(folders: Iterable[Path]) -> None:
    """Append the folders of a pipeline to `sys.path`, in place of those of the pipeline before.

    Python's own modules and installed packages come first, so a file of a team never replaces them.
    """
    for folder, is_appended in _FOLDERS.items():
        if is_appended and folder in sys.path:
            sys.path.remove(folder)
    _FOLDERS.clear()
    for folder in map(str, folders):
        _FOLDERS[folder] = folder not in sys.path
        if _FOLDERS[folder]:
            sys.path.append(folder)
    importlib.invalidate_caches()


def extend() -> None:
    """Append the folders of AIW_CODE_PATH to `sys.path`, and forget which files its folders had before."""
    sys.path.extend(folder for folder in _inherited() if folder not in sys.path)
    importlib.invalidate_caches()


def environment(code_folders: Iterable[str] | None = None) -> dict[str, str]:
    """Return the environment variables of a process that finds own code.

    Args:
        code_folders: the folders of its pipeline; if None, those of the pipeline that was loaded last.
    """
    found = folders() if code_folders is None else list(dict.fromkeys([*code_folders, *_inherited()]))
    return {**os.environ, VARIABLE: os.pathsep.join(found)} if found else {**os.environ}


def folders() -> list[str]:
    """Return all folders in which own code is found."""
    return list(dict.fromkeys([*_FOLDERS, *_inherited()]))


def _inherited() -> list[str]:
    return [str(Path(folder).absolute()) for folder in os.environ.get(VARIABLE, "").split(os.pathsep) if folder]
