"""Options of the command line: a help line each, the same names everywhere, no negative forms of flags."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from cyclopts import App
from prefect.settings import PREFECT_API_URL, temporary_settings

from ai_workflow.cli import main
from ai_workflow.cli.common_options import CommonOptions, WritingOptions
from ai_workflow.errors import StoreError

pytestmark = pytest.mark.integration
# Commands that read or write a store.
STORE = {"run", "score", "serve", "doctor", "trace", "exporter", "up"}
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


@pytest.mark.parametrize(
    ("arguments", "texts"),
    [
        (
            ["bogus"],
            ('Unknown command "bogus". ai-workflow has the commands run, score, ', "blocks, exporter, relay, slo"),
        ),
        (["config", "chekc"], ('Did you mean "check"? ai-workflow config has the commands check, show, where',)),
        (["trace", "--nope"], ("Unknown option: --nope", "ai-workflow trace --help lists the options")),
        (["run", "--log-level"], ("ai-workflow run --help lists the options",)),
        (["up", "--offset", "x"], ("--offset", "ai-workflow up --help lists the options")),
        (["up", "--database", "mysql"], ("mysql", "ai-workflow up --help lists the options")),
        (["models", "pin"], ("ai-workflow models pin --help lists the options",)),
        (["up", "--offset", "70000"], ("--offset 70000 gives ports outside 1 to 65535. Pass a smaller offset",)),
        (["up", "--offset=-70000"], ("--offset -70000 gives ports outside 1 to 65535",)),
        (["exporter", "--port=-1"], ("--port -1 is not between 0 and 65535. Pass another port",)),
        (["exporter", "--port", "70000"], ("--port 70000 is not between 0 and 65535",)),
        (["serve", "--port", "70000"], ("--port 70000: must be less than or equal to 65535",)),
        (["relay", "--port=-1"], ("--port -1: must be greater than or equal to 0",)),
        (["run", "--log-level", "DEBUG"], ("--log-level applies to a single flow. Name one, such as ",)),
        (
            ["run", "training", "--log-level", "LOUD"],
            ("--log-level 'LOUD' is not a level. Pass DEBUG, INFO, WARN or ",),
        ),
        (["trace", "--last", "--failed"], ("--last cannot be combined with --failed or --list. Omit --last",)),
        (["trace", "--last", "--list"], ("--last cannot be combined with --failed or --list. Omit --last",)),
        (["score"], ("SOURCE is missing. Pass a file: ai-workflow score new.csv",)),
    ],
)
def test_usage_error_is_one_line_with_remedy_and_exit_code_2(
    arguments: list[str], texts: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.exit_code(arguments) == 2
    out, error = capsys.readouterr()
    assert (out, error.startswith("error: "), error.count("\n")) == ("", True, 1)
    assert [text for text in texts if text not in error] == []


def test_service_on_every_interface_without_token_names_no_option(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.exit_code(["serve", "--host", "0.0.0.0"]) == 2  # noqa: S104
    assert capsys.readouterr().err.startswith("error: service.host 0.0.0.0 can be reached from other machines: set ")


def test_deploy_without_file_exits_2_before_any_change(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}):
        assert main.exit_code(["deploy", str(tmp_path / "gone.yaml")]) == 2
    assert capsys.readouterr().err.startswith("error: ")
