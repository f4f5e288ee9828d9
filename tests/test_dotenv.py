"""The file `.env`: what it sets, what it refuses, and what wins over it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from ai_workflow.config import dotenv
from ai_workflow.config.loader import ConfigError
from ai_workflow.secret_values import scrub
from tests import ending_commands
from tests.config_project import Project

PROJECT = Path(__file__).parents[1]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A=1", {"A": "1"}),
        ("  A = 1  ", {"A": "1"}),
        ("export A=1", {"A": "1"}),
        ("\ufeffA=1\r\nB=2\r\n", {"A": "1", "B": "2"}),
        ("# A=1\n\n   # more\nB=2 # a comment\n", {"B": "2"}),
        ("A=a#b", {"A": "a#b"}),
        ("A=#b", {"A": ""}),
        ("A=", {"A": ""}),
        ("A=''", {"A": ""}),
        ("A='a # b' # c", {"A": "a # b"}),
        ('A="a # b"', {"A": "a # b"}),
        ("A='it\"s $HOME ${X} `id` \\n'", {"A": 'it"s $HOME ${X} `id` \\n'}),
        ('A="say \\"hi\\"\\n\\\\ $HOME"', {"A": 'say "hi"\n\\ $HOME'}),
        ("A=$HOME/${X:-y}", {"A": "$HOME/${X:-y}"}),
        ("A=a b=c", {"A": "a b=c"}),
        ("A=b'c", {"A": "b'c"}),
        ("ключ=1", None),
        ("A", None),
        ("A:1", None),
        ("1A=1", None),
        ("A-B=1", None),
        ("A='open", None),
        ("A=\"a\" 'b'", None),
        ("A=1\nA=2", None),
        ("A=\0", None),
    ],
)
def test_dotenv_line_follows_shell_syntax_without_interpolation(
    text: str, expected: dict[str, str] | None, tmp_path: Path
) -> None:
    path = tmp_path / ".env"
    path.write_bytes(text.encode())
    if expected is None:
        with pytest.raises(ConfigError, match=rf"{path}:\d: "):
            dotenv.read(path)
    else:
        assert dotenv.read(path) == expected


def test_malformed_dotenv_lines_are_reported_without_text(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_text("hunter2\nA=1\nTOKEN='hunter2\n")
    with pytest.raises(ConfigError) as caught:
        dotenv.read(path)
    assert [(problem.line, problem.file) for problem in caught.value.problems] == [(1, str(path)), (3, str(path))]
    assert "hunter2" not in str(caught.value)


def test_environment_overrides_dotenv_even_if_empty(tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.write(".env", "A=file\nB=file\nC=file\n")
    env = {"AIW_ROOT": str(tmp_path), "A": "real", "B": ""}
    assert dotenv.load(env) == ["C"]
    assert (env["A"], env["B"], env["C"]) == ("real", "", "file")


def test_env_file_variable_selects_or_disables_dotenv(tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.write(".env", "A=1\n")
    other = project.write("other.env", "B=2\n")
    root = {"AIW_ROOT": str(tmp_path)}
    assert dotenv.load(root | {"AIW_ENV_FILE": str(other)}) == ["B"]
    assert dotenv.load(root | {"AIW_ENV_FILE": ""}) == []
    with pytest.raises(ConfigError, match=r"AIW_ENV_FILE: .*gone\.env is not a file"):
        dotenv.load(root | {"AIW_ENV_FILE": str(tmp_path / "gone.env")})
    (tmp_path / ".env").unlink()
    # A virtual environment may have this name.
    (tmp_path / ".env").mkdir()
    assert dotenv.load(dict(root)) == []


def test_dotenv_secrets_are_masked(tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.write(".env", "MY_TOKEN=sesame-4711\nPREFECT_LOGIN=operator:sesame-4712\nHOST=visible-host\n")
    dotenv.load({"AIW_ROOT": str(tmp_path)})
    assert scrub("sesame-4711 operator:sesame-4712 sesame-4712 visible-host") == "*** *** *** visible-host"


@pytest.mark.parametrize(
    "command",
    [
        ["config", "show"],
        ["serve"],
        ["run"],
        ["run", "training"],
        ["up"],
        ["deploy"],
        ["relay"],
        ["exporter"],
        ["blocks", "register"],
    ],
    ids=" ".join,
)
@pytest.mark.slow
def test_commands_read_dotenv_and_report_errors(command: list[str], tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.write(".env", "GOOD=1\nnonsense hunter2\n")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("AIW_", "PREFECT_API"))}
    environment |= {"AIW_ROOT": str(tmp_path), "PYTHONPATH": str(PROJECT)}
    done = ending_commands.run([sys.executable, "-m", "ai_workflow", *command], cwd=tmp_path, env=environment)
    assert done.returncode == 2
    assert f"{tmp_path}/.env:2: not NAME=value" in done.stderr
    assert "hunter2" not in done.stderr + done.stdout
    assert "Traceback" not in done.stderr
