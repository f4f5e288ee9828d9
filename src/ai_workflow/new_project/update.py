"""Update of a project to the files of the installed package; changes of the team are kept."""

from __future__ import annotations

import os
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
# The team's: it names the version that the team installs, and what else it needs.
_REQUIREMENTS = "requirements.txt"


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

    @property
    def has_crlf(self) -> bool:
        """Whether all lines of the team's file end with CR and LF, as an editor or git can have written them."""
        own = self.own or b""
        return 0 < own.count(b"\n") == own.count(b"\r\n")

    @property
    def own_lines(self) -> bytes:
        """The team's file, with the line ends of the package if all of its lines have others."""
        return (self.own or b"").replace(b"\r\n", b"\n") if self.has_crlf else self.own or b""

    @property
    def old_lines(self) -> bytes:
        """The package's last file, with the line ends that it wrote."""
        return (self.old or b"").replace(b"\r\n", b"\n")


def update(root: Path) -> list[Change]:
    """Bring the files of a project up to date with the installed package, and return what changed.

    A file that the team did not change is replaced. A file that both changed is merged, with conflict markers as git
    writes them where both changed the same lines. A file that the team deleted stays deleted, and one that cannot be
    merged stays as it is: a link, a folder, or a file that is not text.

    Args:
        root: the folder of the project.

    Raises:
        ProjectFolderError: the folder has no project, git has uncommitted changes or unresolved conflicts of it, or a
            file cannot be written.
    """
    if not (root / PRISTINE).is_dir():
        raise ProjectFolderError(f"{root} has no {PRISTINE}: `ai-workflow init` did not write it. Change to its folder")
    try:
        untracked = _untracked(root)
        new = template.files(template.requirement())
        changes = _changes(root, new)
        if lost := sorted(untracked & {change.path for change in changes if change.action != "kept"}):
            raise ProjectFolderError(f"{root} has files that git does not track, as {lost[0]}. Commit them")
        _apply(root, changes, new)
    except OSError as error:
        raise ProjectFolderError(
            f"{error.filename or root} cannot be read or written: {error.strerror}. Correct it, then update again"
        ) from error
    return changes


def _changes(root: Path, new: dict[str, bytes]) -> list[Change]:
    pristine = root / PRISTINE
    old = {path.relative_to(pristine).as_posix(): path.read_bytes() for path in _files(pristine)}
    names = sorted((old.keys() | new.keys()) - {_REQUIREMENTS})
    _require_resolved(root, names)
    before = (_read(root / VERSION) or b"before").decode(errors="replace").strip()
    labels = ("yours", f"ai-workflow {before}", f"ai-workflow {template.version()}")
    changes = []
    for name in names:
        if _is_replaceable(root, name):
            change = _change(name, Versions(old.get(name), new.get(name), _read(root / name)), labels)
        else:
            change = _kept(name) if name in new and new[name] != old.get(name) else None
        if change:
            changes.append(change)
    return changes


def _kept(name: str) -> Change:
    return Change(name, "kept", note=f"yours is not a text file; the new one is {PRISTINE / name}")


def _is_replaceable(root: Path, name: str) -> bool:
    """Return whether a path is a file, or absent, in folders of the project that are no links."""
    path = root / name
    folders = path.relative_to(root).parents[:-1]
    if any((root / folder).is_symlink() or (root / folder).is_file() for folder in folders) or path.is_symlink():
        return False
    return path.is_file() or not path.exists()


def _change(name: str, file: Versions, labels: tuple[str, str, str]) -> Change | None:
    if file.new in (file.old, file.own):
        return None
    if file.own is None:
        return Change(name, "added", file.new) if file.old is None else Change(name, "kept", note="you deleted it")
    if file.own == file.old:
        return Change(name, "removed") if file.new is None else Change(name, "changed", file.new)
    if file.new is None:
        return Change(name, "kept", note="no longer used; you changed it: delete it if you do not need it")
    if any(content is not None and b"\0" in content for content in (file.old, file.new, file.own)):
        return _kept(name)
    content, conflicts = _merged(file, labels)
    if content == file.own:
        return None
    if conflicts:
        return Change(name, "conflict", content, f"resolve the lines from {_MARK}")
    return Change(name, "merged" if file.own_lines != file.old_lines else "changed", content)


def _merged(file: Versions, labels: tuple[str, str, str]) -> tuple[bytes, int]:
    """Return the three-way merge of a file with the line ends of the team's, and the number of its conflicts."""
    with tempfile.TemporaryDirectory() as name:
        paths = [Path(name, part) for part in ("own", "old", "new")]
        for path, content in zip(paths, (file.own_lines, file.old_lines, file.new), strict=True):
            path.write_bytes(content or b"")
        named = [part for label in labels for part in ("-L", label)]
        try:
            done = subprocess.run(["git", "merge-file", "-p", *named, *paths], capture_output=True, check=False)
        except FileNotFoundError:
            raise ProjectFolderError("git is missing, which merges the changes. Install git") from None
    if not 0 <= done.returncode <= _MAX_CONFLICTS:
        raise ProjectFolderError(f"git merge-file failed: {done.stderr.decode(errors='replace').strip()}. Update git")
    return done.stdout.replace(b"\n", b"\r\n") if file.has_crlf else done.stdout, done.returncode


def _apply(root: Path, changes: list[Change], new: dict[str, bytes]) -> None:
    """Write the changes; an update that was killed is completed by the next one."""
    # Conflicts last, because the next update refuses them.
    for change in sorted(changes, key=lambda change: change.action == "conflict"):
        path = root / change.path
        if change.content is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            written = path.with_name(f".{path.name}.part")
            written.write_bytes(change.content)
            if path.exists():
                shutil.copymode(path, written)
            written.replace(path)
        elif change.action == "removed":
            path.unlink()
    # File by file, so that a project always has them.
    creation.write(root / PRISTINE, new)
    for path in list(_files(root / PRISTINE)):
        if path.relative_to(root / PRISTINE).as_posix() not in new:
            path.unlink()
    (root / VERSION).write_text(f"{template.version()}\n")


def _untracked(root: Path) -> set[str]:
    """Return the files in the folder that git does not track, and refuse changes of those it does.

    What git has, an update can be undone to. Without git, or outside a repository, nothing is refused.
    """
    if shutil.which("git") is None:
        return set()
    command = ["git", "-C", str(root), "status", "--porcelain", "-z", "--no-renames", "--untracked-files=all"]
    status = subprocess.run([*command, "--ignored", "--", "."], capture_output=True, check=False)
    if status.returncode:
        return set()
    entries = [(entry[:2], os.fsdecode(entry[3:])) for entry in status.stdout.split(b"\0") if entry]
    if changed := next((path for code, path in entries if code not in (b"??", b"!!")), None):
        raise ProjectFolderError(f"{root} has uncommitted changes, as {changed}. Commit or stash them")
    prefix = subprocess.run(["git", "-C", str(root), "rev-parse", "--show-prefix"], capture_output=True, check=False)
    inside = os.fsdecode(prefix.stdout.rstrip(b"\n"))
    return {path.removeprefix(inside) for _, path in entries}


def _require_resolved(root: Path, names: list[str]) -> None:
    for name in names:
        lines = (_read(root / name) or b"").splitlines()
        if any(line.startswith(_CONFLICT) for line in lines):
            raise ProjectFolderError(f"{root / name} has unresolved conflicts. Resolve the lines from {_MARK}")


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.is_file())


def _read(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None
