"""The promises of `ai-workflow config`: what it prints, how it exits, and how little it imports."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from ai_workflow.cli import config, main
from ai_workflow.cli.serve import ServeOptions
from ai_workflow.config.loader import load
from ai_workflow.errors import StageError

PROJECT = Path(__file__).parents[1]
EXAMPLE = PROJECT / "config/examples/credit.yaml"
PASSWORD = "correct-horse-battery"
BASE = """\
pipeline: base
task: classification
source: {kind: sample}
target: target
"""


class Ran(NamedTuple):
    """What a command line left."""

    code: object
    out: str
    err: str


Run = Callable[..., Ran]


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project of its own; nothing of this machine's configuration is seen."""
    for name in [name for name in os.environ if name.startswith(("AIW_", "DATABASE_"))]:
        monkeypatch.delenv(name)
    for folder in ("config", "etc"):
        (tmp_path / folder).mkdir()
    (tmp_path / "config/base.yaml").write_text(BASE)
    (tmp_path / "config/production.yaml").write_text("database:\n  password: ${PW:-}\n  host: prod\n")
    monkeypatch.setenv("AIW_ROOT", str(tmp_path))
    monkeypatch.setenv("AIW_ETC", str(tmp_path / "etc"))
    monkeypatch.setenv("AIW_OS_RELEASE", str(tmp_path / "os-release"))
    (tmp_path / "os-release").write_text("ID=rocky\n")
    return tmp_path


@pytest.fixture
def run(root: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run one command line; return its exit status and what it printed."""

    def call(*arguments: str | Path) -> Ran:
        with pytest.raises(SystemExit) as exited:
            main.main([str(argument) for argument in arguments])
        printed = capsys.readouterr()
        return Ran(exited.value.code, printed.out, printed.err)

    return call


def test_check_prints_pipeline_environment_and_layer_count(run: Run) -> None:
    found = run("config", "check", "--environment", "production")
    assert (found.code, found.err) == (0, "")
    assert found.out == "configuration ok: pipeline base, environment production, 2 layers\n"


def test_check_accepts_example_with_missing_data(run: Run) -> None:
    found = run("config", "check", "--pipeline", EXAMPLE)
    assert (found.code, found.out) == (0, "configuration ok: pipeline credit, environment development, 2 layers\n")


def test_check_rejects_variable_without_effect(run: Run, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RELAY_TOKEN", "sesame-81")
    monkeypatch.setenv("DATABASE_USERNAME", "ann")
    found = run("config", "check")
    assert (found.code, found.out) == (2, "")
    first, second = found.err.splitlines()
    assert first.startswith(
        "error: RELAY_TOKEN is set, but has no effect on the alert relay: no layer sets relay.token."
    )
    assert second.startswith("DATABASE_USERNAME is set, but has no effect on runs of flows, make run, make score: ")
    assert "sesame-81" not in found.err

    (root / "mine.yaml").write_text(
        "relay: {token: '${secret:relay-token}'}\ndatabase: {username: '${DATABASE_USERNAME}'}\n"
    )
    assert run("config", "check", "--pipeline", root / "mine.yaml").code == 0


def test_check_accepts_variables_of_make_up(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_LOGIN", "ann:sesame-82")
    assert run("config", "check").code == 0


@pytest.mark.parametrize("command", ["check", "show", "where"])
def test_invalid_configuration_exits_2_on_stderr(command: str, run: Run, root: Path) -> None:
    (root / "mine.yaml").write_text("trainer:\n  stepz: 1\nmodle: 2\n")
    found = run("config", command, "--pipeline", root / "mine.yaml")
    assert (found.code, found.out) == (2, "")
    assert found.err.splitlines()[:2] == [
        "error: 2 problems in the configuration:",
        "mine.yaml:2: trainer.stepz: unknown key; did you mean 'steps'?",
    ]


def test_show_output_loads_to_same_settings(run: Run, root: Path) -> None:
    shown = run("config", "show", "--pipeline", EXAMPLE).out
    assert yaml.safe_load(shown) == load(EXAMPLE).settings.model_dump(mode="json", by_alias=True)
    (root / "again.yaml").write_text(shown)
    assert load(root / "again.yaml").settings == load(EXAMPLE).settings


def test_show_masks_secrets(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PW", PASSWORD)
    for options in ([], ["--origin"]):
        found = run("config", "show", "--environment", "production", *options)
        assert PASSWORD not in found.out + found.err
        assert "  password: '***'" in found.out


def test_show_origin_adds_file_and_line_to_each_value(run: Run) -> None:
    lines = run("config", "show", "--environment", "production", "--origin").out.splitlines()
    assert "environment: production  # argument" in lines
    assert "  host: prod  # config/production.yaml:3" in lines
    assert "target: target  # config/base.yaml:4" in lines
    assert "  steps: 200  # built-in default" in lines
    assert all("  # " in line or line.endswith(":") for line in lines)


def test_where_lists_layers_as_used_or_absent(run: Run, root: Path) -> None:
    (root / "etc/centos").mkdir(parents=True)
    (root / "etc/centos/a.yaml").write_text("")
    system, _, layers = run("config", "where", "--environment", "production").out.partition("\n\n")
    assert system.splitlines() == [
        "Detected system: rocky (ID rocky)",
        "System family: centos",
        f"Config dir: {root}/etc/centos",
    ]
    lines = [line.split() for line in layers.splitlines()]
    assert [line[:2] for line in lines] == [
        ["used", "config/base.yaml"],
        ["used", "config/production.yaml"],
        ["used", "etc/centos/a.yaml"],
        ["absent", "AIW_CONFIG"],
        ["absent", "pipeline"],
        ["absent", "override"],
    ]


@pytest.mark.parametrize("text", ["ID=alpine\nPRETTY_NAME='Alpine Linux v3.20'\n", ""])
def test_where_reports_unsupported_system_family(text: str, run: Run, root: Path) -> None:
    (root / "os-release").write_text(text)
    lines = run("config", "where").out.splitlines()
    shown = "Alpine Linux v3.20 (ID alpine)" if text else "unknown: there is no os-release file with an ID"
    assert lines[:3] == [f"Detected system: {shown}", "System family: neither centos nor ubuntu", "Config dir: none"]


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("database.host", "config/production.yaml:3"),
        ("database", "config/production.yaml:1"),
        ("target", "config/base.yaml:4"),
        ("trainer.checkpoint.keep", "built-in default"),
    ],
)
def test_where_prints_origin_of_key(key: str, expected: str, run: Run) -> None:
    found = run("config", "where", key, "--environment", "production")
    assert (found.code, found.out) == (0, f"{expected}\n")


def test_where_with_unknown_key_exits_2_with_suggestion(run: Run) -> None:
    found = run("config", "where", "trainer.stepz")
    assert (found.code, found.out) == (2, "")
    assert found.err == "error: unknown key 'trainer.stepz'. Did you mean 'trainer.steps'?\n"


def test_unknown_command_exits_2_with_suggestion(run: Run) -> None:
    found = run("config", "chekc")
    assert (found.code, found.out) == (2, "")
    assert 'Did you mean "check"?' in " ".join(found.err.split())


def test_package_error_is_single_line_with_masked_secrets(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise StageError(f"no database at {PASSWORD}", "Start it.")

    monkeypatch.setenv("PW", PASSWORD)
    load(environment="production")
    monkeypatch.setattr("ai_workflow.config.loader.load", fail)
    found = run("config", "check")
    assert (found.code, found.out, found.err) == (2, "", "error: no database at ***. Start it.\n")


@pytest.mark.integration
@pytest.mark.parametrize("arguments", [["--help"], ["config", "check"]])
def test_cli_starts_without_heavy_libraries(arguments: list[str]) -> None:
    code = f"""
import atexit, sys
heavy = {{"prefect", "pandas", "pyarrow", "lightgbm", "sklearn", "numpy", "matplotlib"}}
atexit.register(lambda: print("loaded:", sorted(heavy & set(sys.modules))))
from ai_workflow.cli.main import main
main({arguments!r})
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=PROJECT)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("loaded: []\n")


@pytest.mark.integration
def test_installed_console_command_runs(root: Path) -> None:
    command = Path(sys.executable).with_name("ai-workflow")
    done = subprocess.run([command, "config", "check"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (
        0,
        "configuration ok: pipeline base, environment development, 1 layers\n",
    )


LEAF = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20)
TREE = st.recursive(
    LEAF,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=6,
)


@pytest.mark.integration
@settings(max_examples=100, deadline=None)
@given(st.dictionaries(st.text(min_size=1), TREE))
def test_any_value_round_trips_through_show_yaml(values: dict[str, object]) -> None:
    shown = "\n".join(config._lines(values, None))
    assert (yaml.safe_load(shown) or {}) == values


@pytest.mark.parametrize("command", [["trace"], ["trace", "--list"], ["models", "list"]])
def test_missing_store_is_rejected(command: list[str], run: Run, root: Path) -> None:
    for store in (root / "gone", root / "os-release"):
        found = run(*command, "--store", store)
        assert (found.code, found.out) == (2, "")
        assert found.err == f"error: the store {store} is not a folder. Correct its path\n"


def test_serve_accepts_missing_store_and_rejects_file(run: Run, root: Path) -> None:
    assert ServeOptions(store=str(root / "gone")).settings.store.root == str(root / "gone")
    found = run("serve", "--port", "0", "--store", root / "os-release")
    assert (found.code, found.out) == (2, "")
    assert found.err == f"error: the store {root / 'os-release'} is not a folder. Correct its path\n"


def test_exporter_rejects_file_as_store(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.exit_code(["exporter", "--store", str(root / "os-release")]) == 2
    assert capsys.readouterr().err == f"error: the store {root / 'os-release'} is not a folder. Correct its path\n"


@pytest.mark.integration
def test_check_applies_relay_and_server_validation(run: Run, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIW_ALLOWED_ORIGINS", "*")
    (root / "mine.yaml").write_text("chat:\n  - {name: a, kind: apprise, url: 'ntfy://a ntfy://b'}\n")
    found = run("config", "check", "--pipeline", root / "mine.yaml")
    assert (found.code, found.out) == (2, "")
    assert "mine.yaml:2: chat.0.url: holds several addresses, but a channel has one. Write a channel" in found.err
    (root / "mine.yaml").write_text("chat:\n  - {name: a, kind: apprise, url: 'ntfy://a'}\n")
    found = run("config", "check", "--pipeline", root / "mine.yaml")
    assert (found.code, found.out) == (2, "")
    assert found.err.startswith("error: AIW_ALLOWED_ORIGINS '*': it is not an origin. Write scheme://host")
