"""`ai-workflow init`: a complete project that passes its own check, or nothing."""

from __future__ import annotations

import importlib.metadata
import os
import re
import shlex
import tempfile
from pathlib import Path

import pytest

from ai_workflow.cli import main, project
from ai_workflow.config import loader
from ai_workflow.new_project import creation, template
from ai_workflow.provisioning import prefect_file

pytestmark = pytest.mark.unit
ROOT = Path(__file__).parents[2]
PACKAGE = "ai-workflow==0.1.0"


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_project_has_the_files_of_this_one_and_an_example(tmp_path: Path) -> None:
    folder = tmp_path / "team"
    written = creation.create(folder, PACKAGE)
    found = files(folder)
    assert set(found) == {*written, *(f".ai-workflow/project/{name}" for name in written), ".ai-workflow/version"}
    for name in ("prefect.yaml", "flows/training.py", "blocks/catalogue.py", "config/base.yaml", "monitoring/slo.yaml"):
        assert found[name] == (ROOT / name).read_bytes()
    assert found["requirements.txt"] == f"{PACKAGE}\n".encode()
    assert {"Makefile", ".gitignore", "pipelines/example/features.py", "tests/test_features.py"} <= set(found)
    assert list(tmp_path.iterdir()) == [folder]


def test_configuration_and_deployments_of_a_new_project_are_valid(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    creation.create(tmp_path / "team", PACKAGE)
    monkeypatch.setenv("AIW_ROOT", str(tmp_path / "team"))
    loaded = loader.load(tmp_path / "team/pipelines/example/pipeline.yaml")
    assert loaded.settings.pipeline == "example"
    prefect_file.read(tmp_path / "team/prefect.yaml")


def test_empty_git_repository_is_taken(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    creation.create(tmp_path, PACKAGE)
    assert (tmp_path / "prefect.yaml").is_file()


@pytest.mark.parametrize("occupant", ["file", "folder", "hidden"])
def test_folder_that_is_not_empty_is_refused_unchanged(
    tmp_path: Path, occupant: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "team"
    if occupant == "file":
        folder.write_text("x")
    else:
        folder.mkdir()
        (folder / ("data" if occupant == "folder" else ".env")).write_text("x")
    before = files(tmp_path)
    assert main.exit_code(["init", str(folder)]) == 2
    assert files(tmp_path) == before
    error = capsys.readouterr().err
    assert re.search(r"is a file\. Name a new|is not empty: it has (data|\.env)\. Name a new or an empty", error), error


def test_interrupted_creation_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Path.rename

    def failing(path: Path, target: Path) -> Path:
        if path.name == "flows":
            raise OSError(28, os.strerror(28))
        return real(path, target)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(creation.ProjectFolderError, match="cannot be written: No space left on device"):
        creation.create(tmp_path / "team", PACKAGE)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("origin", "expected"),
    [
        (None, rf"ai-workflow=={re.escape(template.version())}"),
        ('{"url": "file:///src", "dir_info": {"editable": true}}', r"ai-workflow @ file:///src"),
        ('{"url": "file:///a.whl", "archive_info": {}}', r"ai-workflow @ file:///a\.whl"),
        (
            '{"url": "https://git.example/a.git", "vcs_info": {"vcs": "git", "commit_id": "0a1b"}}',
            r"ai-workflow @ git\+https://git\.example/a\.git@0a1b",
        ),
    ],
)
def test_requirement_is_what_the_package_was_installed_from(
    origin: str | None, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Distribution:
        version = template.version()

        def read_text(self, _: str) -> str | None:
            return origin

    monkeypatch.setattr(importlib.metadata, "distribution", lambda _: Distribution())
    assert re.fullmatch(expected, template.requirement())


def test_existing_folder_is_written_without_its_parent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "team").mkdir()
    real = tempfile.mkdtemp

    def mkdtemp(suffix: str | None, prefix: str | None, parent: Path) -> str:
        if parent == tmp_path:
            raise PermissionError(13, os.strerror(13))
        return real(suffix, prefix, parent)

    monkeypatch.setattr(tempfile, "mkdtemp", mkdtemp)
    monkeypatch.chdir(tmp_path / "team")
    creation.create(Path(), PACKAGE)
    assert (tmp_path / "team/prefect.yaml").is_file()
    assert not list(tmp_path.glob("team/.ai-workflow-*"))


def test_name_of_the_maximum_length_is_written(tmp_path: Path) -> None:
    assert creation.create(tmp_path / ("n" * 255), PACKAGE)


@pytest.mark.parametrize("package", ["", " ", "ai-workflow==1.0\n-r other.txt", "a\rb"])
def test_requirement_that_is_not_one_line_is_refused(tmp_path: Path, package: str) -> None:
    with pytest.raises(creation.ProjectFolderError, match="is not one line"):
        creation.create(tmp_path / "team", package)
    assert list(tmp_path.iterdir()) == []


def test_link_to_a_missing_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "team").symlink_to("missing")
    with pytest.raises(creation.ProjectFolderError, match="is a link to a missing folder"):
        creation.create(tmp_path / "team", PACKAGE)


@pytest.mark.parametrize(
    ("name", "argument"), [("team of two", "team of two"), ("it's", "it's"), ("$HOME", "$HOME"), ("-x", "./-x")]
)
def test_printed_command_quotes_the_folder(
    tmp_path: Path, name: str, argument: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    project.init(Path(name), package=PACKAGE)
    command = re.search(r"next  (cd .*?) && git init", capsys.readouterr().out)
    assert command is not None
    assert shlex.split(command[1]) == ["cd", argument]
