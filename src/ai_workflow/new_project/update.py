"""Update of a project to the files of the installed package; changes of the team are kept."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ai_workflow.new_project import creation, template
from ai_workflow.new_project.creation import PRISTINE, VERSION, ProjectFolderError

Action = Literal["added", "changed", "merged", "conflict", "removed", "kept"]
# Exit codes of `git merge-file` above it are errors, those up to it are numbers of conflicts.
_MAX_CONFLICTS = 127
_CONFLICT = b"<<<<<<< "
_MARK = _CONFLICT.decode().strip()


@dataclass(frozen=True, slots=True)
class Change:
    """What an update does to a file.

    Args:
        path: path of the file in the project.
        action: `kept` for a file of the team that the package changed or no longer has.
        content: the new content; None: the file is deleted, or stays as it is if the action is `kept`.
        note: what to do about it, or empty.
    """

    path: str
    action: Action
    content: bytes | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Versions:
    """A file as the package wrote it last, as the package has it now, and as it is in the project; None: absent."""

    old: bytes | None
    new: bytes | None
    own: bytes | None


def update(root: Path) -> list[Change]:
    """Bring the files of a project up to date with the installed package, and return what changed.

    A file that the team did not change is replaced. A file that both changed is merged, with conflict markers as git
    writes them where both changed the same lines. A file that the team deleted stays deleted.

    Args:
        root: the folder of the project.

    Raises:
        ProjectFolderError: the folder has no project, git has uncommitted changes or unresolved conflicts of it, or a
            file cannot be written.
    """
    pristine = root / PRISTINE
    if not pristine.is_dir():
        raise ProjectFolderError(f"{root} has no {PRISTINE}: `ai-workflow init` did not write it. Name its folder")
    _require_committed(root)
    new = template.files(_package(root))
    old = {path.relative_to(pristine).as_posix(): path.read_bytes() for path in _files(pristine)}
    names = sorted(old.keys() | new.keys())
    _require_resolved(root, names)
    labels = ("yours", f"ai-workflow {(root / VERSION).read_text().strip()}", f"ai-workflow {template.version()}")
    changes = [
        change
        for name in names
        if (change := _change(name, Versions(old.get(name), new.get(name), _read(root / name)), labels))
    ]
    try:
        _apply(root, changes, new)
    except OSError as error:
        raise ProjectFolderError(
            f"{root} cannot be written: {error.strerror}. Correct it, then update again"
        ) from error
    return changes


def _change(name: str, file: Versions, labels: tuple[str, str, str]) -> Change | None:
    if file.new in (file.old, file.own):
        return None
    if file.own is None:
        return Change(name, "added", file.new) if file.old is None else Change(name, "kept", note="you deleted it")
    if file.own == file.old:
        return Change(name, "removed") if file.new is None else Change(name, "changed", file.new)
    if file.new is None:
        return Change(name, "kept", note="no longer used; you changed it: delete it if you do not need it")
    content, conflicts = _merged(file, labels)
    if conflicts:
        return Change(name, "conflict", content, f"resolve the lines from {_MARK}")
    return Change(name, "merged", content)


def _merged(file: Versions, labels: tuple[str, str, str]) -> tuple[bytes, int]:
    """Return the three-way merge of a file, and the number of its conflicts."""
    with tempfile.TemporaryDirectory() as name:
        paths = [Path(name, part) for part in ("own", "old", "new")]
        for path, content in zip(paths, (file.own, file.old, file.new), strict=True):
            path.write_bytes(content or b"")
        named = [part for label in labels for part in ("-L", label)]
        try:
            done = subprocess.run(["git", "merge-file", "-p", *named, *paths], capture_output=True, check=False)
        except FileNotFoundError:
            raise ProjectFolderError("git is missing, which merges the changes. Install git") from None
    if not 0 <= done.returncode <= _MAX_CONFLICTS:
        raise ProjectFolderError(f"git merge-file failed: {done.stderr.decode(errors='replace').strip()}. Update git")
    return done.stdout, done.returncode


def _apply(root: Path, changes: list[Change], new: dict[str, bytes]) -> None:
    """Write the changes; an update that was killed is completed by the next one."""
    for change in changes:
        path = root / change.path
        if change.content is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            written = path.with_name(f".{path.name}.part")
            written.write_bytes(change.content)
            written.replace(path)
        elif change.action == "removed":
            path.unlink()
    with tempfile.TemporaryDirectory(prefix=".update-", dir=(root / PRISTINE).parent) as name:
        creation.write(Path(name, "new"), new)
        (root / PRISTINE).rename(Path(name, "old"))
        Path(name, "new").rename(root / PRISTINE)
    (root / VERSION).write_text(f"{template.version()}\n")


def _require_committed(root: Path) -> None:
    """Check that git has no uncommitted changes, so that the update can be undone; without git there is no check."""
    if shutil.which("git") is None:
        return
    command = ["git", "-C", str(root), "status", "--porcelain", "--untracked-files=no"]
    status = subprocess.run(command, capture_output=True, text=True, check=False)
    if status.returncode == 0 and status.stdout.strip():
        changed = status.stdout.splitlines()[0][3:]
        raise ProjectFolderError(f"{root} has uncommitted changes, as {changed}. Commit or stash them")


def _require_resolved(root: Path, names: list[str]) -> None:
    for name in names:
        lines = (_read(root / name) or b"").splitlines()
        if any(line.startswith(_CONFLICT) for line in lines):
            raise ProjectFolderError(f"{root / name} has unresolved conflicts. Resolve the lines from {_MARK}")


def _package(root: Path) -> str:
    """Return the requirement of the package in requirements.txt; that of the installed package if it has none."""
    lines = (_read(root / "requirements.txt") or b"").decode(errors="replace").splitlines()
    return next((line.strip() for line in lines if line.startswith(template.PACKAGE)), template.requirement())


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.is_file())


def _read(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None
