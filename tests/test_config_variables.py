"""Environment variables: one that is set for a part and has no effect there is an error."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ai_workflow.config import variables
from ai_workflow.config.loader import ConfigError, Loaded
from ai_workflow.config.variables import PARTS, STACK_VARIABLES, VARIABLES, Part, UnusedVariableError, Variable
from tests.config_project import Project

PROJECT = Path(__file__).parents[1]
# A value of each that differs from every default.
VALUES = {"AIW_PORT": "8123", "DATABASE_PORT": "5555", "AIW_LOG_LEVEL": "ERROR", "AIW_LOG_FORMAT": "json"}
CASES = [(row, part) for row in VARIABLES for part in row.parts]
IDS = [f"{row.name} {part}" for row, part in CASES]


def value_of(row: Variable) -> str:
    return VALUES.get(row.name, "127.0.0.2")


def used(row: Variable) -> str:
    """Return a layer that uses a variable."""
    reference = f"${{secret:{row.name.lower().replace('_', '-')}}}" if row.is_secret else f"${{{row.name}}}"
    if row.key == "chat":
        return f"chat: [{{name: a, kind: dingtalk, url: '{reference}', secret: '{reference}'}}]"
    section, key = row.key.split(".")
    token = "  token: literal\n" if row.name == "AIW_HOST" else ""
    return f"{section}:\n{token}  {key}: {reference}\n"


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def refused(loaded: Loaded, env: dict[str, str], part: Part) -> str:
    with pytest.raises(UnusedVariableError) as caught:
        variables.check(loaded, env, part)
    return str(caught.value)


@pytest.mark.integration
@pytest.mark.parametrize(("row", "part"), CASES, ids=IDS)
def test_variable_used_by_no_layer_is_rejected(row: Variable, part: Part, project: Project) -> None:
    env = {row.name: value_of(row)}
    said = refused(project.load(env=env), env, part)
    assert said.startswith(f"{row.name} is set, but has no effect on {PARTS[part]}: ")
    assert row.key in said
    assert f"or unset {row.name}." in said
    variables.check(project.load(), {row.name: ""}, part)


@pytest.mark.parametrize(("row", "part"), CASES, ids=IDS)
def test_variable_used_by_layer_is_accepted(row: Variable, part: Part, project: Project) -> None:
    env = {row.name: value_of(row)}
    project.write("config/development.yaml", used(row))
    variables.check(project.load(env=env), env, part)


@pytest.mark.parametrize("row", [row for row in VARIABLES if row.key != "chat"], ids=lambda row: row.name)
def test_overridden_variable_error_names_overriding_line(row: Variable, project: Project) -> None:
    env = {row.name: value_of(row)}
    project.write("config/development.yaml", used(row))
    section, key = row.key.split(".")
    other = {"level": "WARNING", "format": "text", "port": "7777"}.get(key, "localhost")
    mine = project.write("mine.yaml", f"{section}:\n  {key}: {other}\n")
    said = refused(project.load(mine, env=env), env, row.parts[0])
    assert f"mine.yaml:2 sets {row.key} to another value" in said


def test_variable_of_other_component_is_ignored(project: Project) -> None:
    loaded = project.load()
    variables.check(loaded, {"INFERENCE_TOKEN": "x", "DATABASE_HOST": "y"}, "relay")
    variables.check(loaded, {"RELAY_TOKEN": "x", "AIW_HOST": "y"}, "run")


def test_run_override_takes_precedence_over_variable(project: Project) -> None:
    project.write("config/development.yaml", "logging: {level: '${AIW_LOG_LEVEL:-INFO}'}")
    env = {"AIW_LOG_LEVEL": "ERROR"}
    variables.check(project.load(env=env, overrides={"logging.level": "DEBUG"}), env, "run")


@pytest.mark.parametrize("level", ["debug", "Warn", "WARN", "error"])
def test_log_level_variable_is_case_insensitive(level: str, project: Project) -> None:
    project.write("config/development.yaml", "logging: {level: '${AIW_LOG_LEVEL:-INFO}'}")
    env = {"AIW_LOG_LEVEL": level}
    variables.check(project.load(env=env), env, "run")


@pytest.mark.parametrize(("foreign", "part"), [(row, part) for row in STACK_VARIABLES for part in row.parts])
def test_make_up_variable_is_rejected_by_other_components(
    foreign: variables.StackVariable, part: Part, project: Project
) -> None:
    loaded = project.load()
    said = refused(loaded, {foreign.name: "a:b"}, part)
    assert f"{foreign.name} is set, but has no effect on {PARTS[part]}" in said
    assert f"Set {foreign.replacement} instead" in said
    variables.check(loaded, {foreign.name: "a:b", foreign.replacement: "a:b"}, part)


def test_unused_variable_message_hides_value(project: Project) -> None:
    env = {row.name: "sesame-77" for row in VARIABLES} | {row.name: "sesame-77" for row in STACK_VARIABLES}
    loaded = project.load()
    assert not any("sesame-77" in line for part in PARTS for line in variables.unused(loaded, env, part))


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("AIW_CONFG", "Did you mean AIW_CONFIG?"),
        ("AIW_ENVIROMENT", "Did you mean AIW_ENVIRONMENT?"),
        ("AIW_STOR", "Did you mean AIW_STORE?"),
        ("AIW_LOGLEVEL", "Did you mean AIW_LOG_LEVEL?"),
        ("AIW_ZZZZZZZZZZ", "Unset it, or write ${AIW_ZZZZZZZZZZ} in a layer."),
    ],
)
def test_unknown_project_variable_is_rejected(name: str, hint: str, project: Project) -> None:
    with pytest.raises(ConfigError) as caught:
        project.load(env={name: "x"})
    assert f"{name} is set, but no layer of the configuration names it. {hint}" in str(caught.value)


def test_variable_named_by_any_layer_is_known(project: Project) -> None:
    project.write("config/development.yaml", "trainer: {params: {metric: ['${AIW_OWN:-1}']}}")
    mine = project.write("mine.yaml", "trainer: {params: {metric: l2}}")
    assert project.load(mine, env={"AIW_OWN": "3"}).settings.trainer.params == {"metric": "l2"}


@pytest.mark.integration
@pytest.mark.parametrize("environment", ["development", "production"])
def test_shipped_config_uses_or_rejects_each_variable(environment: str) -> None:
    """What .env.example names either holds, or keeps its part from starting."""
    from ai_workflow.config.loader import load

    held = set()
    for row in VARIABLES:
        env = {row.name: value_of(row)} | ({"AIW_ENVIRONMENT": environment})
        try:
            variables.check(load(root=PROJECT, env=env), env, row.parts[0])
        except UnusedVariableError:
            continue
        held.add(row.name)
    only_production = {
        "AIW_HOST", "INFERENCE_TOKEN", "INFERENCE_LABEL_TOKEN", "INFERENCE_ADMIN_TOKEN", "RELAY_TOKEN",
    }  # fmt: skip
    everywhere = {row.name for row in VARIABLES} - only_production - {"ON_CALL_URL", "ON_CALL_SECRET"}
    assert held == everywhere | (only_production if environment == "production" else set())


def test_documented_variables_are_in_variable_table() -> None:
    text = "".join((PROJECT / name).read_text() for name in (".env.example", "deploy/.env.example"))
    documented = set(re.findall(r"^#?([A-Z][A-Z0-9_]*)=", text, re.MULTILINE))
    documented |= set(re.findall(r"^\| `([A-Z_]+)`", (PROJECT / "docs/stack.md").read_text(), re.MULTILINE))
    # PostgreSQL, Grafana, boto, Prefect and ai_workflow.local.login read these themselves.
    others = {
        "POSTGRES_PASSWORD", "GRAFANA_PASSWORD", "AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY",
        "PREFECT_ENCRYPTION_KEY", "MONITORING_PASSWORD",
    }  # fmt: skip
    known = {row.name for row in VARIABLES} | {row.name for row in STACK_VARIABLES} | variables._READ
    assert documented - known == others
