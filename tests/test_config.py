"""The promises of the configuration: layers, placeholders, secrets, and errors that name file, line and key."""

from __future__ import annotations

import json
import pickle
import re
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from ai_workflow.config import loader
from ai_workflow.config import schema as config_schema
from ai_workflow.config.loader import ConfigError, Loaded, Problem, load
from ai_workflow.config.settings import CsvSource, Settings
from ai_workflow.secret_values import Secret

PROJECT = Path(__file__).parents[1]
FIXTURES = Path(__file__).parent / "fixtures" / "config"
UNSET = "the environment variable NOT_SET is not set; set it, or write ${NOT_SET:-default}"
PASSWORD = "correct-horse-battery"
BASE = """\
pipeline: base
task: classification
source: {kind: sample, name: iris}
target: target
trainer:
  steps: 100
  params: {learning_rate: 0.1, metric: [a, b]}
store: {root: base-root}
"""
OS_RELEASE = {
    "rocky": 'NAME="Rocky Linux"\nID="rocky"\nID_LIKE="rhel centos fedora"\n',
    "almalinux": 'ID="almalinux"\nID_LIKE="rhel centos fedora"\n',
    "centos-stream": 'ID="centos"\nID_LIKE="rhel fedora"\n',
    "rhel": 'ID="rhel"\nID_LIKE="fedora"\n',
    "fedora": "# no ID_LIKE\nID=fedora\n",
    "ubuntu": "ID=ubuntu\nID_LIKE=debian\n",
    "debian": "PRETTY_NAME='Debian GNU/Linux'\nID=debian\n",
    "mint": 'ID=linuxmint\nID_LIKE="ubuntu debian"\n',
    "arch": "ID=arch\n",
    "broken": 'ID="never closed\nnonsense\n',
}

Load = Callable[..., Loaded]


class Project:
    """A project of its own in an empty folder, and nothing of this machine around it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.env = {"AIW_OS_RELEASE": str(root / "os-release"), "AIW_ETC": str(root / "etc")}
        (root / "etc").mkdir()
        self.write("os-release", "")
        self.write("config/base.yaml", BASE)
        self.write("config/development.yaml", "")

    def write(self, name: str, text: str) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    def load(self, pipeline: str | Path | None = None, *, env: dict[str, str] | None = None, **options: Any) -> Loaded:
        return load(pipeline, root=self.root, env=self.env | (env or {}), **options)

    def fails(self, *arguments: Any, **options: Any) -> list[str]:
        """Load, which must fail; return the report's lines without its head."""
        with pytest.raises(ConfigError) as caught:
            self.load(*arguments, **options)
        return str(caught.value).splitlines()[1:]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


# --- what ships


@pytest.mark.parametrize("environment", ["development", "production"])
@pytest.mark.parametrize("name", ["sample", "credit", "sales"])
def test_shipped_config_files_load(environment: str, name: str, project: Project) -> None:
    pipeline = None if name == "sample" else PROJECT / f"config/examples/{name}.yaml"
    loaded = load(pipeline, root=PROJECT, environment=environment, env=project.env)
    assert loaded.settings.environment == environment
    assert loaded.settings.pipeline == name


def test_words_of_a_boolean_column_are_declared_without_quoted_keys(project: Project) -> None:
    gift = load(PROJECT / "config/examples/sales.yaml", root=PROJECT, env=project.env).settings.columns["gift"]
    assert (gift.true, gift.false) == (("ja",), ("nein",))


def test_source_document_keys_have_documented_values(project: Project) -> None:
    settings = load(root=PROJECT, env=project.env).settings
    assert (settings.model.path, settings.model.batch_size, settings.model.timeout) == ("models", 128, 30)
    assert (settings.database.host, settings.database.port) == ("localhost", 5432)
    assert settings.database.password == Secret("${secret:database-password}")


def test_sample_settings_do_not_leak_into_example_pipeline(project: Project) -> None:
    loaded = load(PROJECT / "config/examples/credit.yaml", root=PROJECT, env=project.env)
    shown = loaded.settings.model_dump(by_alias=True)
    leaves = [
        key
        for key in loaded._origins
        if config_schema.scope_at(tuple(key.split("."))) == "pipeline" and key.split(".")[0] in shown
    ]
    # A mapping that holds keys of both scopes is named by the layer that set it last.
    mixed = {"trainer", "evaluation", "inference"}
    assert {(loaded.origin(key) or "").split(":")[0] for key in leaves if key not in mixed} == {
        "config/examples/credit.yaml"
    }
    assert isinstance(loaded.settings.source, CsvSource)


def test_env_example_lists_every_config_variable() -> None:
    named = set(re.findall(r"^#?([A-Z][A-Z0-9_]*)=", (PROJECT / ".env.example").read_text(), re.MULTILINE))
    # logging.yaml is Prefect's: its placeholders are of another kind.
    files = [path for path in sorted((PROJECT / "config").rglob("*.yaml")) if path.name != "logging.yaml"]
    text = "\n".join(re.sub(r"(^|\s)#.*", "", path.read_text(), flags=re.MULTILINE) for path in files)
    variables = set(re.findall(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-|\})", text))
    secrets = {name.upper().replace("-", "_") for name in re.findall(r"\$\{secret:([a-z0-9-]+)\}", text)}
    assert {"AIW_STORE", "DATABASE_HOST"} <= variables
    assert "DATABASE_PASSWORD" in secrets
    assert (
        named - {"AIW_ENVIRONMENT", "AIW_CONFIG", "AIW_ROOT", "AIW_ETC", "AIW_OS_RELEASE", "AIW_ENV_FILE"}
        == variables | secrets
    )


@pytest.mark.parametrize("path", sorted((FIXTURES / "valid").glob("*.yaml")), ids=lambda path: path.stem)
def test_valid_config_fixture_is_accepted(path: Path, project: Project) -> None:
    assert project.load(path).origin("pipeline")


@pytest.mark.parametrize("path", sorted((FIXTURES / "invalid").glob("*.yaml")), ids=lambda path: path.stem)
def test_invalid_config_fixture_reports_each_line(path: Path, project: Project) -> None:
    expected = path.with_suffix(".expected").read_text().splitlines()
    found = [line.removeprefix(f"{path.as_posix()}:") for line in project.fails(path)]
    assert found == expected


def test_valid_config_fixtures_give_typed_values(project: Project) -> None:
    placeholders = project.load(FIXTURES / "valid/placeholders.yaml").settings
    assert isinstance(placeholders.source, CsvSource)
    assert placeholders.source.path == str(FIXTURES / "valid/data/new.csv")
    assert placeholders.source.header is True
    assert (placeholders.id, placeholders.target, placeholders.trainer.steps) == (None, "${literal}", 10)
    assert placeholders.columns["seen"].min == 1
    schema = project.load(FIXTURES / "valid/schema.yaml").settings.columns
    assert schema["seen.at"].min == "2020-01-01"
    assert schema["größe 📏"] == schema["twin"]


# --- layers


def test_later_layers_override_in_documented_order(project: Project) -> None:
    project.write("os-release", OS_RELEASE["debian"])
    files = ["config/development.yaml", "etc/ubuntu/10.yaml", "etc/ubuntu/20.yaml", "site.yaml", "mine.yaml"]
    env = {"AIW_CONFIG": str(project.root / "site.yaml")}
    project.write("site.yaml", "")
    project.write("mine.yaml", "")
    for name in files:
        project.write(name, f"store: {{root: {name}}}")
        loaded = project.load(project.root / "mine.yaml", env=env)
        assert (loaded.settings.store.root, loaded.origin("store.root")) == (name, f"{name}:1")
    loaded = project.load(project.root / "mine.yaml", env=env, overrides={"store.root": "mine"})
    assert (loaded.settings.store.root, loaded.origin("store.root")) == ("mine", "override")
    assert [layer.name for layer in loaded.layers if layer.exists] == ["config/base.yaml", *files, "override"]


def test_mappings_merge_and_lists_and_scalars_replace(project: Project) -> None:
    project.write("config/development.yaml", "trainer:\n  seed: 7\n  params: {metric: [c], max_depth: 3}\n")
    trainer = project.load().settings.trainer
    assert (trainer.steps, trainer.seed) == (100, 7)
    assert trainer.params == {"learning_rate": 0.1, "metric": ["c"], "max_depth": 3}


def test_null_overrides_lower_layer_value(project: Project) -> None:
    project.write("config/development.yaml", "trainer: {params: {metric: null}}\nevaluate: {minimum: 1}")
    loaded = project.load(overrides={"evaluate.minimum": None})
    assert loaded.settings.trainer.params["metric"] is None
    assert loaded.settings.evaluate.minimum is None
    project.write("config/development.yaml", "trainer:\n")
    assert project.fails() == ["config/development.yaml:1: trainer: must be a mapping of keys, but it is empty"]


def test_mapping_of_other_kind_replaces_lower_layer(project: Project) -> None:
    project.write("config/development.yaml", "source: {kind: csv, path: x.csv}")
    assert project.load().settings.source == CsvSource(kind="csv", path=str(project.root / "config/x.csv"))
    project.write("config/development.yaml", "source: {kind: '${KIND:-sample}', seed: 3}")
    assert getattr(project.load().settings.source, "name", None) == "iris"
    assert "source.seed: unknown key" in project.fails(env={"KIND": "parquet"})[1]


def test_other_pipeline_resets_only_pipeline_keys_to_defaults(project: Project) -> None:
    project.write("config/development.yaml", "features: {min_count: 5}\nmodel: {timeout: 7}")
    mine = project.write("mine.yaml", "pipeline: mine\ntask: regression\nsource: {kind: sample}\ntarget: y")
    settings = project.load(mine).settings
    assert settings.trainer == Settings.model_fields["trainer"].default
    assert settings.features.min_count == 1
    assert getattr(settings.source, "name", None) == "digits"
    assert (settings.model.timeout, settings.store.root) == (7, "base-root")
    assert project.load(mine).origin("trainer.steps") is None


def test_same_pipeline_keeps_lower_layer_values(project: Project) -> None:
    mine = project.write("mine.yaml", "pipeline: ${P:-base}\ntrainer: {seed: 1}")
    assert project.load(mine).settings.trainer.steps == 100
    assert project.fails(mine, env={"P": "other"}) == [
        "mine.yaml:1: task: required key is missing",
        "mine.yaml:1: source: required key is missing",
        "mine.yaml:1: target: required key is missing",
    ]


def test_nested_and_dotted_overrides_apply_to_other_pipeline(project: Project) -> None:
    mine = project.write("mine.yaml", "pipeline: mine\ntask: regression\nsource: {kind: sample}\ntarget: y")
    overrides = {"trainer.steps": 5, "trainer": {"checkpoint": {"keep": 9}}, "database.password": Secret(PASSWORD)}
    loaded = project.load(mine, overrides=overrides)
    assert (loaded.settings.trainer.steps, loaded.settings.trainer.checkpoint.keep) == (5, 9)
    assert loaded.settings.database.password == Secret(PASSWORD)
    assert loaded.origin("trainer.checkpoint.keep") == "override"


def test_invalid_family_parameters_are_reported_with_other_problems(project: Project) -> None:
    text = (
        "evaluate: {holdout: 3}\ntrainer:\n  params:\n    learning_rat: 0.1\n    num_leaves: 99999999999\n"
        "    eta: 0.1\n    shrinkage_rate: 0.2\n    num_trees: 4\n    deterministic: no\n    max_bin: many\n"
    )
    path = project.write("config/development.yaml", text)
    found = [problem.replace(f"{path}", "file") for problem in project.fails()]
    for line, key, said in (
        (1, "evaluate.holdout", "must be less than 1"),
        (4, "trainer.params.learning_rat", "is not a parameter of LightGBM; did you mean 'learning_rate'?"),
        (5, "trainer.params.num_leaves", "must be a whole number from 2 to 131072"),
        (6, "trainer.params.eta", "is the same parameter as learning_rate; remove one"),
        (7, "trainer.params.shrinkage_rate", "is the same parameter as eta; remove one"),
        (8, "trainer.params.num_trees", "is set by trainer.steps; remove it, and set trainer.steps"),
        (9, "trainer.params.deterministic", "cannot be set: the same data must give the same model; remove it"),
        (10, "trainer.params.max_bin", "must be a whole number"),
    ):
        assert any(each.endswith(f":{line}: {key}: {said}") for each in found), (key, found)
    assert len(found) == 8


def test_invalid_torch_mlp_parameters_are_reported(project: Project) -> None:
    project.write("config/development.yaml", "trainer: {kind: torch_mlp, params: {hiden: 4, dropout: 2, schedule: x}}")
    found = "\n".join(project.fails())
    assert "trainer.params.hiden: is not a parameter of torch_mlp; did you mean 'hidden'?" in found
    assert "trainer.params.dropout: must be less than 1" in found
    assert "trainer.params.schedule: must be 'cosine' or 'none'" in found


WITHOUT_LIBRARY = """
import sys
from ai_workflow.config.settings import trainer_params

trainer_params.problems("lightgbm", {"eta": 1})
trainer_params.problems("torch_mlp", {})
print({"lightgbm", "torch", "numpy", "pandas"} & set(sys.modules))
"""


@pytest.mark.integration
def test_parameters_are_checked_without_loading_library() -> None:
    done = subprocess.run([sys.executable, "-c", WITHOUT_LIBRARY], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_unsupported_override_values_are_reported(project: Project) -> None:
    circle: dict[str, Any] = {}
    circle["params"] = circle
    found = project.fails(overrides={"trainer.stepz": 1, "target": object(), "trainer": {1: 2}, 3: 4, "schema": circle})
    text = "\n".join(found)
    assert "override: trainer.stepz: unknown key; did you mean 'steps'?" in found
    assert "override: target: no setting can hold a value of type object" in found
    assert "override: trainer: every key must be text" in found
    assert "override: 3: a key must be text" in text
    assert "nested too deeply" in text


@pytest.mark.parametrize(
    ("system", "expected"),
    [
        *((name, "from centos") for name in ("rocky", "almalinux", "centos-stream", "rhel", "fedora")),
        *((name, "from ubuntu") for name in ("ubuntu", "debian", "mint")),
        ("arch", "base-root"),
        ("broken", "base-root"),
        (None, "base-root"),
    ],
)
def test_system_family_reads_only_matching_folder(system: str | None, expected: str, project: Project) -> None:
    for family in ("centos", "ubuntu"):
        project.write(f"etc/{family}/site.yaml", f"store: {{root: from {family}}}")
    if system:
        project.write("os-release", OS_RELEASE[system])
    loaded = project.load()
    assert loaded.settings.store.root == expected
    assert sum(layer.exists for layer in loaded.layers) == (2 if expected == "base-root" else 3)


@pytest.mark.parametrize("first", ["rocky", "ubuntu"])
def test_project_files_give_same_settings_on_both_families(first: str, project: Project) -> None:
    project.write("os-release", OS_RELEASE["arch"])
    reference = load(root=PROJECT, env=project.env).settings
    project.write("os-release", OS_RELEASE[first])
    assert load(root=PROJECT, env=project.env).settings == reference


def test_environment_precedence_is_argument_variable_default(project: Project) -> None:
    project.write("config/production.yaml", "environment: production\nstore: {root: p}")
    project.write("config/staging.yaml", "store: {root: s}")
    assert project.load().settings.environment == "development"
    from_variable = project.load(env={"AIW_ENVIRONMENT": "staging"})
    assert (from_variable.settings.environment, from_variable.settings.store.root) == ("staging", "s")
    assert from_variable.origin("environment") == "AIW_ENVIRONMENT"
    from_argument = project.load(environment="production", env={"AIW_ENVIRONMENT": "staging"})
    assert (from_argument.settings.environment, from_argument.settings.store.root) == ("production", "p")


def test_unknown_environment_error_lists_available_files(project: Project) -> None:
    project.write("config/production.yaml", "")
    project.write("config/logging.yaml", "")
    there = "there are: development, production"
    assert project.fails(environment="producton") == [
        f"environment: 'producton' has no file in config/; did you mean 'production'? {there}"
    ]
    for name, shown in (("base", "base"), ("../mine", "../mine"), ("x\0", r"x\x00")):
        assert project.fails(env={"AIW_ENVIRONMENT": name}) == [
            f"environment: '{shown}' has no file in config/; {there}"
        ]
    (project.root / "config/development.yaml").unlink()
    assert project.load().settings.environment == "development"


def test_missing_config_file_is_reported(project: Project) -> None:
    project.write("config/development.yaml", "store: {rot: x}")
    assert project.fails("/no/such.yaml", env={"AIW_CONFIG": "/nor/this.yaml"}) == [
        "AIW_CONFIG: /nor/this.yaml does not exist. Correct --pipeline (PIPELINE=) or AIW_CONFIG",
        "pipeline file: /no/such.yaml does not exist. Correct --pipeline (PIPELINE=) or AIW_CONFIG",
        "config/development.yaml:1: store.rot: unknown key; did you mean 'root'?",
    ]
    project.write("config/development.yaml", "")
    assert project.fails(project.root) == [".: is a folder, not a file"]


def test_root_precedence_is_variable_cwd_package(
    project: Project, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    monkeypatch.chdir(elsewhere)
    assert load(env=project.env).settings.pipeline == "sample"
    assert load(env=project.env | {"AIW_ROOT": str(project.root)}).settings.pipeline == "base"
    monkeypatch.chdir(project.root)
    assert load(env=project.env).settings.pipeline == "base"
    with pytest.raises(ConfigError, match=r"base.yaml: not found under .*elsewhere.*; set AIW_ROOT"):
        load(env=project.env | {"AIW_ROOT": str(elsewhere)})


def test_layers_report_reason_for_presence_or_absence(project: Project) -> None:
    project.write("os-release", OS_RELEASE["rocky"])
    layers = project.load().layers
    assert [(layer.exists, layer.reason) for layer in layers] == [
        (True, "base"),
        (True, "environment development"),
        (False, "system centos (rocky)"),
        (False, "not given"),
        (False, "not given"),
        (False, "not given"),
    ]


# --- placeholders


def read(project: Project, value: str, env: dict[str, str] | None = None) -> Any:
    """What a value becomes where anything may stand."""
    project.write(
        "config/development.yaml", f"trainer: {{params: {{}}}}\ninference:\n  default_response:\n    v: {value}\n"
    )
    return project.load(env=env).settings.inference.default_response["v"]


@pytest.mark.parametrize(
    ("value", "env", "expected"),
    [
        ("${V}", {"V": "text"}, "text"),
        ("${V:-default}", {}, "default"),
        ("${V:-default}", {"V": ""}, "default"),
        ("${V:-default}", {"V": "set"}, "set"),
        ("x${V}y", {"V": ""}, "xy"),
        ("x${V:-}y", {}, "xy"),
        ("${V:-}", {}, None),
        ("${V:-a:-b $c {d}", {}, "a:-b $c {d"),
        ("$${V}", {}, "${V}"),
        ("a$${V}${V}", {"V": "b"}, "a${V}b"),
        ("$$${V}", {"V": "b"}, "$${V}"),
        ("${V}", {"V": "${W}"}, "${W}"),
        ("$V $ {V}", {}, "$V $ {V}"),
        ("${A}-${B:-2}", {"A": "1"}, "1-2"),
        ("['${V}', {k: '${V}'}]", {"V": "1"}, ["1", {"k": "1"}]),
    ],
)
def test_placeholders_are_replaced(value: str, env: dict[str, str], expected: object, project: Project) -> None:
    assert read(project, value, env) == expected


@pytest.mark.parametrize(
    ("value", "text", "expected"),
    [
        ("${V}", "5432", 5432),
        ("${V}", "1e-3", 0.001),
        ("${V}", "true", True),
        ("${V}", "null", None),
        ("${V}", "2020-01-01", "2020-01-01"),
        ("${V}", "[1, 2]", "[1, 2]"),
        ("${V}", "{a: 1}", "{a: 1}"),
        ("${V}", "a: 1", "a: 1"),
        ("${V}", " a ", " a "),
        ("${V}", " 1 ", 1),
        ("${V}", "=", "="),
        ("${V}", "<<", "<<"),
        ('"${V}"', "5432", "5432"),
        ("'${V}'", "true", "true"),
        ("${V}0", "5432", "54320"),
    ],
)
def test_only_whole_unquoted_placeholder_becomes_yaml_scalar(
    value: str, text: str, expected: object, project: Project
) -> None:
    found = read(project, value, {"V": text})
    assert (found, type(found)) == (expected, type(expected))


def test_text_field_keeps_variable_as_text(project: Project) -> None:
    project.write("config/development.yaml", "database:\n  port: ${V}\n  name: ${V}\n  password: ${V}\nid: ${N}")
    settings = project.load(env={"V": "0123", "N": "null"}).settings
    assert (settings.database.port, settings.database.name, settings.id) == (83, "0123", None)
    assert settings.database.password == Secret("0123")


def test_unset_variable_error_names_file_line_key_and_variable(project: Project) -> None:
    project.write("config/development.yaml", "store:\n  root: /data/${NOT_SET}")
    with pytest.raises(ConfigError) as caught:
        project.load()
    assert caught.value.problems == (
        Problem(
            "config/development.yaml",
            2,
            "store.root",
            UNSET,
        ),
    )


def test_unset_variable_in_overridden_value_is_ignored(project: Project) -> None:
    project.write("config/development.yaml", "store: {root: '${NOT_SET}'}\nsource: {kind: '${NOT_SET}'}")
    mine = project.write("mine.yaml", "store: {root: mine}\nsource: {kind: sample}")
    assert project.load(mine).settings.store.root == "mine"


def test_unresolved_value_is_reported_once(project: Project) -> None:
    project.write("config/development.yaml", "source:\n  kind: sql\n  table: ${NOT_SET}\ntask: ${NOT_SET}")
    assert [line.split(": ")[:2] for line in project.fails()] == [
        ["config/development.yaml:3", "source.table"],
        ["config/development.yaml:4", "task"],
    ]


def test_non_utf8_variable_is_reported(project: Project) -> None:
    project.write("config/development.yaml", "store: {root: '${V}'}")
    assert "V is not UTF-8 text" in project.fails(env={"V": "\udcff"})[0]


# --- secrets


def test_secret_is_not_resolved_during_load(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Secret, "reveal", lambda *_: pytest.fail("looked up"))
    project.write("config/development.yaml", "database:\n  password: ${secret:never-there}")
    assert project.load().settings.database.password == Secret("${secret:never-there}")


@pytest.mark.parametrize("value", ["${PW}", PASSWORD, "${NOT_SET:-" + PASSWORD + "}"])
def test_secret_is_masked_in_reprs_and_dumps(value: str, project: Project) -> None:
    text = f"database:\n  password: {value}\nsource:\n  kind: sql\n  url: {value}\n  table: t\n"
    project.write("config/development.yaml", text)
    loaded = project.load(env={"PW": PASSWORD})
    assert loaded.settings.database.password is not None
    assert loaded.settings.database.password.reveal() == PASSWORD
    dumps = [loaded.settings.model_dump_json(), json.dumps(loaded.settings.model_dump(mode="json"))]
    for shown in (repr(loaded), str(loaded), str(loaded.settings), str(loaded.settings.model_dump()), *dumps):
        assert PASSWORD not in shown
        assert "***" in shown


@pytest.mark.parametrize(
    "text",
    [
        "database: {password: ${PW}, port: x}",
        "database:\n  password: ${PW}\n  port: x",
        "database:\n  password: [${PW}]",
        'database:\n  password: ["${PW}"]',
        "database:\n  pasword: ${PW}",
        f"database:\n  password: [{PASSWORD}]",
        f"database:\n  password: *{PASSWORD}",
        f"database:\n  password: !{PASSWORD}",
        f"database:\n  password: '{PASSWORD}",
        f"database:\n  password: @{PASSWORD}",
        f"database:\n  password: {PASSWORD}: x",
        f"database:\n  password:{PASSWORD}",
        f"database: {{password:{PASSWORD}}}",
        f"database: {{password {PASSWORD}: 1}}",
        f"database:\n  password: a${{secret:{PASSWORD}}}",
        f"database:\n  password: {PASSWORD}\n  password: {PASSWORD}",
        "database:\n  password: ${PW}\n  host: ${secret:x}\n",
        "source:\n  kind: sql\n  url: ${PW}\n",
        "source:\n  kind: csv\n  url: ${PW}\n",
        "environment: other\ndatabase: {password: '${PW}'}",
    ],
)
def test_error_report_never_contains_secret(text: str, project: Project) -> None:
    project.write("config/development.yaml", text)
    with pytest.raises(ConfigError) as caught:
        project.load(env={"PW": PASSWORD})
    error = caught.value
    chain = "".join(traceback.format_exception(error))
    for shown in (str(error), repr(error), repr(error.problems), chain.split("Traceback")[0], repr(error.__cause__)):
        assert PASSWORD not in shown
    assert PASSWORD.encode() not in pickle.dumps(error)


def test_config_error_survives_pickling(project: Project) -> None:
    project.write("config/development.yaml", "a: 1\nb: 2")
    with pytest.raises(ConfigError) as caught:
        project.load()
    copy = pickle.loads(pickle.dumps(caught.value))  # noqa: S301
    assert (copy.problems, str(copy)) == (caught.value.problems, str(caught.value))


# --- reports


def test_problems_of_all_layers_are_reported_with_count(project: Project) -> None:
    project.write("config/base.yaml", "store: {root: ${X}}\n")
    project.write("config/development.yaml", "trainer: {stepz: 1}\ndatabase:\n  host: ${NOT_SET}\n")
    mine = project.write("mine.yaml", 'a: "b\n')
    with pytest.raises(ConfigError) as caught:
        project.load(mine, overrides={"model.batch_size": 0})
    assert str(caught.value).splitlines() == [
        "5 problems in the configuration:",
        "config/base.yaml:1: inside { } or [ ] a text with ${...} must be quoted",
        "config/development.yaml:1: trainer.stepz: unknown key; did you mean 'steps'?",
        f"config/development.yaml:3: database.host: {UNSET}",
        "mine.yaml:1: a quote that is never closed",
        "override: model.batch_size: must be at least 1",
    ]


def test_single_problem_report_uses_singular(project: Project) -> None:
    project.write("config/development.yaml", "modle: 1")
    with pytest.raises(ConfigError, match=r"^1 problem in the configuration:\n") as caught:
        project.load()
    assert "pydantic" not in str(caught.value)


def test_long_problem_report_is_truncated_with_count(project: Project) -> None:
    project.write("config/development.yaml", "x: 1\n" * 300)
    lines = project.fails()
    assert (len(lines), lines[-1]) == (101, "... and 200 more")


def test_problem_names_layer_of_invalid_value(project: Project) -> None:
    project.write("config/base.yaml", BASE + "evaluate:\n  holdout: 2\n")
    project.write("config/development.yaml", "\nevaluate:\n  tolerance: 0\n")
    assert project.fails() == ["config/base.yaml:10: evaluate.holdout: must be less than 1"]


def test_settings_are_frozen(project: Project) -> None:
    loaded = project.load()
    with pytest.raises(ValidationError):
        loaded.settings.trainer.steps = 1  # type: ignore[misc]
    with pytest.raises(AttributeError):
        loaded.settings = loaded.settings  # type: ignore[misc]


def test_empty_file_is_empty_layer(project: Project) -> None:
    reference = project.load().settings
    for text in ("", "# only a comment\n", "---\n", "\n\n", "null\n", "{}\n"):
        project.write("config/development.yaml", text)
        assert project.load().settings == reference


# --- files that attack


@pytest.mark.integration
def test_yaml_alias_bomb_is_rejected_quickly(project: Project) -> None:
    rows = ["    a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    rows += [f"    a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 30)]
    project.write("config/development.yaml", "trainer:\n  params:\n" + "\n".join(rows))
    started = time.process_time()
    assert "holds more than 100000 values with its aliases followed" in project.fails()[0]
    assert time.process_time() - started < 5


@pytest.mark.integration
@pytest.mark.parametrize("text", ["[" * 20_000, "a: " + "{b: " * 5_000, "\n".join(" " * i + "a:" for i in range(400))])
def test_deep_nesting_is_reported(text: str, project: Project) -> None:
    project.write("config/development.yaml", text)
    assert "nested deeper than 40 levels" in project.fails()[0]


def test_nearly_exhausted_stack_is_reported_as_deep_nesting(project: Project) -> None:
    project.write("config/development.yaml", "a: " + "[" * 39 + "]" * 39)

    def deeper(levels: int) -> list[str]:
        return deeper(levels - 1) if levels else project.fails()

    frames = len(traceback.extract_stack())
    assert deeper(sys.getrecursionlimit() - frames - 120) == ["config/development.yaml:1: nested too deeply"]


def test_oversized_config_file_is_rejected(project: Project) -> None:
    project.write("config/development.yaml", "# " + "x" * 600_000)
    assert project.fails() == ["config/development.yaml: is larger than 512 KiB; is it a configuration?"]


def test_folder_in_place_of_layer_file_is_reported(project: Project) -> None:
    project.write("os-release", OS_RELEASE["ubuntu"])
    (project.root / "etc/ubuntu/site.yaml").mkdir(parents=True)
    assert project.fails() == ["etc/ubuntu/site.yaml: is a folder, not a file"]


quickly = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def loads_or_problems(project: Project, **options: Any) -> Settings | tuple[Problem, ...]:
    """Anything but a ConfigError gets through."""
    try:
        return project.load(**options).settings
    except ConfigError as error:
        return error.problems


def loads_or_explains(project: Project) -> None:
    started = time.process_time()
    found = loads_or_problems(project)
    assert isinstance(found, Settings) or found
    assert time.process_time() - started < 5


@pytest.mark.integration
@quickly
@given(
    st.one_of(
        st.binary(max_size=400), st.text(alphabet="{}[]:,-&*!|>'\"%@`#?~ \t\n<=.${}ab01", max_size=200).map(str.encode)
    )
)
def test_arbitrary_bytes_load_or_raise_config_error(project: Project, raw: bytes) -> None:
    (project.root / "config/development.yaml").write_bytes(raw)
    loads_or_explains(project)


SHIPPED = yaml.safe_load((PROJECT / "config/base.yaml").read_text())
ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(["${X}", "${X:-1}", "${secret:a}", "$${", "${", "csv", "sql", "0123", "-1", "2020-01-01"]),
    st.lists(st.integers(), max_size=2),
    st.dictionaries(
        st.sampled_from(["kind", "path", "steps", "x", "type", "min"]), st.sampled_from(["csv", 1, None]), max_size=2
    ),
)


@st.composite
def mutated(draw: st.DrawFn) -> Any:
    """The shipped base with a few values replaced, removed or added anywhere."""
    tree = json.loads(json.dumps(SHIPPED))
    for _ in range(draw(st.integers(1, 4))):
        node = tree
        while True:
            key = draw(st.sampled_from([*node, "schema", "kind", "extra"]))
            if not isinstance(node.get(key), dict) or not node[key] or draw(st.booleans()):
                break
            node = node[key]
        if draw(st.integers(0, 5)) == 0:
            node.pop(key, None)
        else:
            node[key] = draw(ODD)
    return tree


@pytest.mark.integration
@quickly
@given(mutated())
@pytest.mark.slow
def test_mutated_base_config_loads_or_raises_config_error(project: Project, tree: Any) -> None:
    project.write("config/base.yaml", yaml.safe_dump(tree, allow_unicode=True))
    loads_or_explains(project)


@pytest.mark.integration
@quickly
@given(
    st.dictionaries(
        st.text(max_size=5) | st.sampled_from(["trainer.steps", "source.kind", "schema.a.type"]), ODD, max_size=4
    )
)
def test_arbitrary_overrides_load_or_raise_config_error(project: Project, overrides: dict[str, Any]) -> None:
    assert loads_or_problems(project, overrides=overrides)


# --- the schema that the messages are made of


def test_secret_fields_are_recognized_by_schema() -> None:
    paths: list[config_schema.KeyPath] = [("database", "password"), ("source", "url"), ("inference", "source", "url")]
    for path in paths:
        assert config_schema.takes_secret(path)
    assert not config_schema.takes_secret(("database", "host"))
    assert not config_schema.types_at(("nowhere", "at", "all"))


def test_loader_exports_public_names() -> None:
    assert set(loader.__all__) == {"ConfigError", "Layer", "Loaded", "Problem", "load"}


@pytest.mark.parametrize(
    ("given", "level"),
    [("WARN", "WARNING"), ("warn", "WARNING"), ("Warning", "WARNING"), ("DEBUG", "DEBUG"), ("debug", "DEBUG")],
)
def test_log_level_accepts_aliases_in_any_case(project: Project, given: str, level: str) -> None:
    loaded = project.load(env={"AIW_LOG_LEVEL": given}, overrides={"logging.level": given})
    assert loaded.settings.logging.level == level


def test_unknown_log_level_error_lists_accepted_names(project: Project) -> None:
    with pytest.raises(ConfigError, match=r"logging\.level.*'DEBUG', 'INFO', 'WARN', 'WARNING' or 'ERROR'"):
        project.load(overrides={"logging.level": "loud"})


@pytest.mark.parametrize("path", ["/models/production/v2.3", "s3://bucket/models", "../models"])
def test_model_path_outside_store_is_rejected(project: Project, path: str) -> None:
    with pytest.raises(ConfigError, match=r"model\.path: must be a folder inside the store.*AIW_STORE"):
        project.load(overrides={"model.path": path})
