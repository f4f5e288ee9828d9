"""`ai-workflow update`: files of the package change, those of the team stay, and both changes of a file are merged."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ai_workflow.cli import main
from ai_workflow.new_project import creation, template
from ai_workflow.new_project import update as project_update
from ai_workflow.new_project.creation import ProjectFolderError

pytestmark = pytest.mark.integration
LINES = [f"line {number}\n" for number in range(20)]
OLD = {
    "prefect.yaml": "".join(LINES), "config/base.yaml": "a: 1\n", "flows/training.py": "old\n",
    "flows/gone.py": "gone\n", "flows/gone_but_changed.py": "gone\n", "Makefile": "run:\n", "README.md": "old\n",
    "requirements.txt": "ai-workflow==1.0\n", "docs.txt": "old\n",
}  # fmt: skip
NEW = OLD | {
    "prefect.yaml": "".join(["new first\n", *LINES[1:]]), "config/base.yaml": "a: 2\n", "flows/training.py": "new\n",
    "Makefile": "run: setup\n", "flows/drift.py": "added\n", "README.md": "new\n",
    "requirements.txt": "ai-workflow==2.0\n", "docs.txt": "new\n",
}  # fmt: skip
for name in ("flows/gone.py", "flows/gone_but_changed.py"):
    del NEW[name]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project of version 1.0, changed by its team, while version 2.0 is installed."""
    set_package(monkeypatch, "1.0", OLD)
    creation.create(tmp_path / "team")
    set_package(monkeypatch, "2.0", NEW)
    folder = tmp_path / "team"
    (folder / "prefect.yaml").write_text("".join([*LINES[:-1], "last of the team\n"]))
    (folder / "flows/gone_but_changed.py").write_text("of the team\n")
    (folder / "Makefile").unlink()
    (folder / "requirements.txt").write_text("pandas\nai-workflow==2.0\n")
    (folder / "docs.txt").write_text("of the team\n")
    (folder / "pipelines").mkdir()
    (folder / "pipelines/pipeline.yaml").write_text("pipeline: own\n")
    monkeypatch.setenv("AIW_ROOT", str(folder))
    return folder


def set_package(monkeypatch: pytest.MonkeyPatch, version: str, files: dict[str, str]) -> None:
    monkeypatch.setattr(template, "version", lambda: version)
    monkeypatch.setattr(template, "requirement", lambda: f"ai-workflow=={version}")
    monkeypatch.setattr(template, "files", lambda _: {name: text.encode() for name, text in files.items()})


def git(folder: Path, *arguments: str) -> None:
    me = ("-c", "user.name=a test", "-c", "user.email=test@localhost", "-c", "commit.gpgsign=false")
    subprocess.run(["git", *me, *arguments], cwd=folder, check=True, capture_output=True)


def test_update_takes_new_files_and_keeps_changes_of_the_team(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.exit_code(["update"]) == 1
    assert capsys.readouterr().out.splitlines() == [
        "      kept  Makefile: you deleted it",
        "   changed  README.md",
        "   changed  config/base.yaml",
        "  conflict  docs.txt: resolve the lines from <<<<<<<",
        "     added  flows/drift.py",
        "   removed  flows/gone.py",
        "      kept  flows/gone_but_changed.py: no longer used; you changed it: delete it if you do not need it",
        "   changed  flows/training.py",
        "    merged  prefect.yaml",
    ]
    assert (project / "prefect.yaml").read_text() == "".join(["new first\n", *LINES[1:-1], "last of the team\n"])
    assert (project / "flows/gone_but_changed.py").read_text() == "of the team\n"
    assert not (project / "flows/gone.py").exists()
    assert not (project / "Makefile").exists()
    assert (project / "pipelines/pipeline.yaml").read_text() == "pipeline: own\n"
    assert (project / creation.VERSION).read_text() == "2.0\n"


def test_conflict_has_both_changes_and_is_resolved_before_the_next_update(project: Path) -> None:
    (project / "config/base.yaml").write_text("a: 3\n")
    changes = {change.path: change.action for change in project_update.update(project)}
    assert changes["config/base.yaml"] == "conflict"
    assert (project / "config/base.yaml").read_text() == (
        "<<<<<<< yours\na: 3\n=======\na: 2\n>>>>>>> ai-workflow 2.0\n"
    )
    with pytest.raises(ProjectFolderError, match=r"base\.yaml has unresolved conflicts\. Resolve the lines"):
        project_update.update(project)


def test_second_update_changes_nothing(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "docs.txt").unlink()
    assert main.exit_code(["update"]) == 0
    capsys.readouterr()
    assert main.exit_code(["update"]) == 0
    assert capsys.readouterr().out == "nothing changed\n"


def test_killed_update_is_completed_by_the_next(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = project.with_name("whole")
    shutil.copytree(project, whole)
    project_update.update(whole)
    real, count = Path.replace, 0

    def killed(path: Path, target: Path) -> Path:
        nonlocal count
        count += 1
        if count > 3:
            raise KeyboardInterrupt
        return real(path, target)

    monkeypatch.setattr(Path, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        project_update.update(project)
    monkeypatch.setattr(Path, "replace", real)
    project_update.update(project)
    for name in NEW:
        assert (project / name).exists() == (whole / name).exists()
        if (whole / name).exists():
            assert (project / name).read_text() == (whole / name).read_text()


def test_uncommitted_changes_are_refused(project: Path) -> None:
    git(project, "init", "-q")
    git(project, "add", ".")
    git(project, "commit", "-qm", "all")
    (project / "prefect.yaml").write_text("changed\n")
    with pytest.raises(ProjectFolderError, match=r"has uncommitted changes, as prefect\.yaml\. Commit or stash them"):
        project_update.update(project)
    git(project, "checkout", "prefect.yaml")
    assert project_update.update(project)


def test_folder_without_project_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ProjectFolderError, match="`ai-workflow init` did not write it"):
        project_update.update(tmp_path)


def test_tests_of_a_new_project_pass(tmp_path: Path) -> None:
    creation.create(tmp_path / "team", "ai-workflow")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests"],
        cwd=tmp_path / "team", env=os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
