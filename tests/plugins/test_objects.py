"""Import of own code: each failure names the key, the file and line, and the remedy."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ai_workflow.datasets import fingerprint
from ai_workflow.errors import StageError
from ai_workflow.plugins import objects, own_versions, search_path
from ai_workflow.plugins.names import CodePath
from tests.own_code import TeamFolder

pytestmark = pytest.mark.unit


@pytest.fixture
def team(tmp_path: Path) -> Iterator[TeamFolder]:
    folder = TeamFolder(tmp_path)
    yield folder
    folder.forget()


def failure(module: str, name: str = "Boost") -> str:
    with pytest.raises(StageError) as raised:
        objects.load(CodePath(module, name), "trainer.kind")
    return str(raised.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x = 1\nraise RuntimeError('no licence')", "the import raised RuntimeError: no licence at {file}:2. Correct"),
        ("import sys\nsys.exit(3)", "the import raised SystemExit: 3 at {file}:2. Correct the code"),
        ("def broken(:\n", "the import raised SyntaxError"),
        ("import json\njson.loads('{')", "raised JSONDecodeError: Expecting property name enclosed in double quotes"),
        ("\nimport not_installed_here.x", "needs the module not_installed_here, which is not installed at {file}:2. I"),
        ("class Other: ...\ndef load(): ...", "{file} has no Boost. Name what it defines: Other, load"),
        ("", "{file} has no Boost. It defines no class and no function"),
    ],
)
def test_failed_import_names_key_file_line_and_remedy(team: TeamFolder, text: str, said: str) -> None:
    file = team.write("team_models.py", text)
    found = failure("team_models")
    assert found.startswith("trainer.kind team_models:Boost: ")
    assert said.format(file=file) in found


def test_error_within_a_library_is_located_in_the_team_file(team: TeamFolder) -> None:
    file = team.write("team_models.py", "import json\n\njson.loads('{')")
    assert f"at {file}:3" in failure("team_models")


def test_absent_module_names_the_searched_folders(team: TeamFolder) -> None:
    found = failure("team_absent.x")
    assert f"there is no module team_absent in {team.folder}, and no installed package has it" in found


def test_team_file_never_replaces_a_module_of_python(team: TeamFolder) -> None:
    team.write("colorsys.py", "class Boost: ...")
    assert "colorsys.py has no Boost" in failure("colorsys")


def test_equal_module_names_of_two_pipelines_are_an_error(team: TeamFolder) -> None:
    team.write("a/team_models.py", "class Boost: ...")
    other = team.write("b/team_models.py", "class Boost: ...")
    search_path.use([team.folder / "a"])
    objects.load(CodePath("team_models", "Boost"), "trainer.kind")
    search_path.use([team.folder / "b"])
    assert f"and the pipeline means {other}. Give one of the two modules another name" in failure("team_models")


def test_child_process_gets_the_same_folders(team: TeamFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(search_path.VARIABLE, "/srv/shared")
    assert search_path.environment()[search_path.VARIABLE] == f"{team.folder}:/srv/shared"


def version(name: str = "Boost") -> str:
    fingerprint.code_version.cache_clear()
    reference = own_versions.reference(CodePath("team_models", name))
    assert reference is not None
    return fingerprint.code_version("ai_workflow.stages.trainer", reference)


def test_comment_in_own_code_keeps_its_version_and_code_changes_it(team: TeamFolder) -> None:
    team.write("team_helper.py", "LIMIT = 3\n")
    team.write("team_models.py", "import team_helper\n\nclass Boost:\n    pass\n")
    before = version()
    team.write("team_models.py", "import team_helper\n\n# Why.\nclass Boost:\n    pass\n")
    assert version() == before
    team.write("team_helper.py", "LIMIT = 4\n")
    assert version() != before


@pytest.mark.parametrize(
    "text",
    ["class Boost:\n    version = '{v}'\n    x = {x}\n", "def Boost():\n    return {x}\n\nBoost.version = '{v}'\n"],
)
def test_explicit_version_wins_over_the_code(team: TeamFolder, text: str) -> None:
    team.write("team_models.py", text.format(v=1, x=1))
    before = version()
    team.write("team_models.py", text.format(v=1, x=2))
    assert version() == before
    team.write("team_models.py", text.format(v=2, x=2))
    assert version() != before
