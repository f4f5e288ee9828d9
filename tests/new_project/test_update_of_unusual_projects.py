"""`ai-workflow update` of projects with links, other line ends, binary files, or inside another repository."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from ai_workflow.cli import main
from ai_workflow.new_project import creation
from ai_workflow.new_project import update as project_update
from ai_workflow.new_project.creation import PRISTINE, ProjectFolderError
from tests.new_project.test_update import git, set_package

pytestmark = pytest.mark.integration
LINES = [f"line {number}\n" for number in range(20)]
OLD = {"flows/training.py": "".join(LINES), "prefect.yaml": "a: 1\n", "requirements.txt": "ai-workflow==1.0\n"}
NEW = OLD | {"flows/training.py": "".join(["new first\n", *LINES[1:]]), "requirements.txt": "ai-workflow==2.0\n"}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An unchanged project of version 1.0, while version 2.0 is installed."""
    set_package(monkeypatch, "1.0", OLD)
    creation.create(tmp_path / "team")
    set_package(monkeypatch, "2.0", NEW)
    monkeypatch.delenv("AIW_ROOT", raising=False)
    return tmp_path / "team"


def actions(project: Path) -> dict[str, str]:
    return {change.path: change.action for change in project_update.update(project)}


def commit(folder: Path) -> None:
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "all")


@pytest.mark.parametrize("requirements", ["-e ../src\n", "pandas\nai-workflow==2.0\n", "ai-workflow==1.0\n"])
def test_requirements_stay_those_of_the_team(project: Path, requirements: str) -> None:
    (project / "requirements.txt").write_text(requirements)
    assert actions(project) == {"flows/training.py": "changed"}
    assert (project / "requirements.txt").read_text() == requirements


@pytest.mark.parametrize("last", ["line 19\n", "of the team\n"], ids=["unchanged", "changed"])
def test_file_with_crlf_is_updated_and_keeps_its_line_ends(project: Path, last: str) -> None:
    path = project / "flows/training.py"
    path.write_bytes("".join([*LINES[:-1], last]).replace("\n", "\r\n").encode())
    assert actions(project) == {"flows/training.py": "changed" if last == LINES[-1] else "merged"}
    assert path.read_bytes() == "".join(["new first\n", *LINES[1:-1], last]).replace("\n", "\r\n").encode()
    assert project_update.update(project) == []


@pytest.mark.parametrize("kind", ["link", "folder", "binary", "linked folder", "dangling link", "file as folder"])
def test_path_that_cannot_be_merged_is_kept(project: Path, tmp_path: Path, kind: str) -> None:
    path, outside = project / "flows/training.py", tmp_path / "shared"
    path.unlink()
    if kind == "link":
        outside.write_text(OLD["flows/training.py"])
        path.symlink_to(outside)
    elif kind == "dangling link":
        path.symlink_to(outside)
    elif kind == "folder":
        path.mkdir()
    elif kind == "binary":
        path.write_bytes(b"\0\1")
    else:
        path.parent.rmdir()
        if kind == "linked folder":
            outside.mkdir()
            (outside / "training.py").write_text(OLD["flows/training.py"])
            path.parent.symlink_to(outside)
        else:
            path.parent.write_text("a file")
    before = path.read_bytes() if path.is_file() else None
    (change,) = project_update.update(project)
    assert (change.action, change.note) == (
        "kept", "yours is not a text file; the new one is .ai-workflow/project/flows/training.py"
    )  # fmt: skip
    assert (path.read_bytes() if path.is_file() else None) == before
    assert (project / PRISTINE / "flows/training.py").read_text() == NEW["flows/training.py"]


def test_executable_file_stays_executable(project: Path) -> None:
    (project / "flows/training.py").chmod(0o755)
    project_update.update(project)
    assert (project / "flows/training.py").stat().st_mode & 0o777 == 0o755


def test_deleted_version_file_is_written_again(project: Path) -> None:
    (project / creation.VERSION).unlink()
    assert actions(project) == {"flows/training.py": "changed"}
    assert (project / creation.VERSION).read_text() == "2.0\n"


def test_changes_of_the_repository_around_the_project_are_allowed(project: Path) -> None:
    git(project.parent, "init", "-q")
    (project.parent / "other").write_text("1")
    commit(project.parent)
    (project.parent / "other").write_text("2")
    assert actions(project) == {"flows/training.py": "changed"}
    with pytest.raises(ProjectFolderError, match="has uncommitted changes"):
        project_update.update(project)


@pytest.mark.parametrize("ignored", [False, True])
def test_file_that_git_does_not_track_is_not_replaced(project: Path, ignored: bool) -> None:
    git(project.parent, "init", "-q")
    (project / ".gitignore").write_text("flows/\n" if ignored else "")
    git(project.parent, "add", "-f", "team/.ai-workflow", "team/.gitignore")
    git(project.parent, "commit", "-qm", "without the flows")
    with pytest.raises(ProjectFolderError, match=r"does not track, as flows/training\.py\. Commit them"):
        project_update.update(project)
    assert (project / "flows/training.py").read_text() == OLD["flows/training.py"]


def test_update_starts_in_a_folder_of_the_project(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project / "flows")
    assert main.exit_code(["update"]) == 0
    assert (project / "flows/training.py").read_text() == NEW["flows/training.py"]


def test_unreadable_file_is_named(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Path.read_bytes

    def denied(path: Path) -> bytes:
        # Root reads every file.
        if path == project / "flows/training.py":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return real(path)

    monkeypatch.setattr(Path, "read_bytes", denied)
    with pytest.raises(ProjectFolderError, match=r"training\.py cannot be read or written: Permission denied"):
        project_update.update(project)
    monkeypatch.undo()
    assert (project / "flows/training.py").read_text() == OLD["flows/training.py"]
