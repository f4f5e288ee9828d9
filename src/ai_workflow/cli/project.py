"""`ai-workflow init` and `ai-workflow update`: a project of a team's own."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

from ai_workflow.config import project
from ai_workflow.telemetry.control_characters import escape


def init(folder: Path, *, package: str | None = None) -> None:
    """Write a project to a new or empty folder: flows, deployments, configuration and an example pipeline.

    Args:
        folder: New or empty folder.
        package: Requirement by which pip installs this package; as it is installed now if not given.
    """
    from ai_workflow.new_project import creation

    files = creation.create(folder, package)
    # A name that starts with a hyphen is an option of cd without its path.
    quoted = shlex.quote(f"./{folder}" if str(folder).startswith("-") else str(folder))
    print(escape(f"{folder}: {len(files)} files"))
    print(escape(f"      next  cd {quoted} && git init && git add . && git commit -m 'Start the project'"))
    print("     train  ai-workflow run --pipeline example")
    print("  your own  ai-workflow pipeline add NAME --from FILE")


def update() -> int:
    """Bring the files of the project up to date with the installed package; your changes are kept.

    The exit code is 1 if there are conflicts to resolve.
    """
    from ai_workflow.new_project import update as project_update

    changes = project_update.update(_root())
    for change in changes:
        print(escape(f"{change.action:>10}  {change.path}{change.note and f': {change.note}'}"))
    if not changes:
        print("nothing changed")
    return 1 if any(change.action == "conflict" for change in changes) else 0


def _root() -> Path:
    """Return the folder of the project: AIW_ROOT, else the current folder or the nearest above it that has one."""
    from ai_workflow.new_project.creation import PRISTINE

    if os.environ.get("AIW_ROOT"):
        return project.root()
    here = Path.cwd()
    return next((folder for folder in (here, *here.parents) if (folder / PRISTINE).is_dir()), here)
