"""Creation of a project: all of its files, or none."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from ai_workflow.errors import AiWorkflowError
from ai_workflow.new_project import template

# The files as the package wrote them: `update` merges the changes between two versions of the package.
PRISTINE = Path(".ai-workflow", "project")
VERSION = Path(".ai-workflow", "version")
# What a folder may have before.
_ALLOWED = {".git"}


class ProjectFolderError(AiWorkflowError):
    """A project cannot be written to a folder."""


def create(folder: Path, package: str | None = None) -> list[str]:
    """Write a project to a folder that is new or empty, and return the paths of its files.

    Args:
        folder: the folder; it may be a git repository without files.
        package: the requirement by which pip installs this package; as it is installed now if not given.

    Raises:
        ProjectFolderError: the folder is not empty, or cannot be written, or the requirement has several lines.
    """
    folder = folder.absolute()
    package = template.requirement() if package is None else package
    if package.splitlines() != [package] or not package.strip():
        raise ProjectFolderError(f"--package {package!r} is not one line. Give a requirement, as ai-workflow==1.0")
    files = template.files(package)
    try:
        _require_empty(folder)
        # An existing folder can be a mount, or the only one that can be written.
        parent = folder if folder.is_dir() else folder.parent
        parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".ai-workflow-", dir=parent) as name:
            temporary = Path(name)
            write(temporary, files)
            write(temporary / PRISTINE, files)
            (temporary / VERSION).write_text(f"{template.version()}\n")
            _move(temporary, folder)
    except OSError as error:
        raise ProjectFolderError(f"{folder} cannot be written: {error.strerror}. Name another folder") from error
    return sorted(files)


def write(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write files into a folder."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def _require_empty(folder: Path) -> None:
    if folder.is_symlink() and not folder.exists():
        raise ProjectFolderError(f"{folder} is a link to a missing folder. Name a new folder")
    if folder.exists() and not folder.is_dir():
        raise ProjectFolderError(f"{folder} is a file. Name a new folder")
    existing = sorted({path.name for path in folder.iterdir()} - _ALLOWED) if folder.is_dir() else []
    if existing:
        more = f" and {len(existing) - 1} more" if len(existing) > 1 else ""
        raise ProjectFolderError(f"{folder} is not empty: it has {existing[0]}{more}. Name a new or an empty folder")


def _move(temporary: Path, folder: Path) -> None:
    """Move all entries of a folder into another; on an error none of them stays there."""
    is_new = not folder.exists()
    folder.mkdir(exist_ok=True)
    moved: list[Path] = []
    try:
        for entry in sorted(temporary.iterdir()):
            entry.rename(folder / entry.name)
            moved.append(folder / entry.name)
    except BaseException:
        for path in moved:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        if is_new:
            folder.rmdir()
        raise
