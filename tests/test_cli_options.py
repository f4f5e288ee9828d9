"""Options of the command line: a help line each, the same names everywhere, no negative forms of flags."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from cyclopts import App

from ai_workflow.cli import main
from ai_workflow.cli.common_options import CommonOptions, WritingOptions
from ai_workflow.errors import StoreError

pytestmark = pytest.mark.integration
# Commands that read or write a store.
STORE = {"run", "score", "serve", "trace", "exporter", "up"}
CONFIGURATION = STORE | {"relay", "deploy", "config check", "config show", "config where"}


def commands(app: App = main.app, above: tuple[str, ...] = ()) -> Iterator[tuple[str, App]]:
    for name in app:
        if name.startswith("-"):
            continue
        command = app[name]
        if command.default_command is None:
            yield from commands(command, (*above, name))
        else:
            yield " ".join((*above, name)), command


COMMANDS = dict(commands())
MODELS = {name for name in COMMANDS if name.startswith("models ")}


def options(name: str) -> dict[str, str | None]:
    """Return the help line of each option and argument of a command."""
    arguments = COMMANDS[name].assemble_argument_collection(
        default_parameter=main.app.default_parameter, parse_docstring=True
    )
    return {
        each: argument.parameter.help
        for argument in arguments
        if argument.parse
        for each in argument.names
        if each != "*"
    }


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_and_option_has_a_help_line(name: str) -> None:
    assert COMMANDS[name].help
    assert [option for option, text in options(name).items() if not text] == []


@pytest.mark.parametrize("name", COMMANDS)
def test_no_flag_has_a_negative_form(name: str) -> None:
    assert [option for option in options(name) if option.startswith("--no-")] == []


def test_commands_of_a_pipeline_have_its_options() -> None:
    assert {name for name in COMMANDS if "--store" in options(name)} == STORE | MODELS
    for option in ("--pipeline", "--environment"):
        assert {name for name in COMMANDS if option in options(name)} == CONFIGURATION | MODELS


@pytest.mark.parametrize("flag", ["--no-last", "--no-failed", "--no-list"])
def test_a_negative_flag_is_refused(flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.exit_code(["trace", flag]) == 2
    assert f"Unknown option: {flag}" in capsys.readouterr().err


def test_the_store_of_the_option_replaces_that_of_the_configuration(tmp_path: Path) -> None:
    folder = tmp_path / "a ${store}"
    assert WritingOptions(store=str(folder)).settings.store.root == str(folder)
    with pytest.raises(StoreError, match="is not a folder"):
        CommonOptions(store=str(folder)).open_store()
    folder.mkdir()
    assert CommonOptions(store=str(folder)).settings.store.root == str(folder)


def test_a_relative_store_does_not_depend_on_the_folder_of_a_later_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert WritingOptions(store="runs").root == str(tmp_path / "runs")
    assert WritingOptions(store="s3://bucket/runs").root == "s3://bucket/runs"
    assert WritingOptions().root is None


def test_trace_finds_the_store_of_a_pipeline_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pipeline = tmp_path / "own.yaml"
    pipeline.write_text(yaml.safe_dump({"store": {"root": str(tmp_path / "store")}}))
    assert main.exit_code(["trace", "--pipeline", str(pipeline)]) == 2
    assert f"there is no run in {tmp_path}/store/journal yet" in capsys.readouterr().err
