"""Scopes of settings: what an operator configures survives every pipeline file that does not set it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from ai_workflow.config import schema
from ai_workflow.config.loader import load
from ai_workflow.config.settings import ConfigModel, Settings
from tests.config_project import Project

# Each key at the top, and each key inside of a section that differs from it.
SCOPES = {
    "pipeline": "pipeline",
    "task": "pipeline",
    "source": "pipeline",
    "stages": "pipeline",
    "id": "pipeline",
    "timestamp": "pipeline",
    "target": "pipeline",
    "schema": "pipeline",
    "deduplicate": "pipeline",
    "reject_limit": "pipeline",
    "keep_types": "pipeline",
    "features": "pipeline",
    "trainer": "pipeline",
    "trainer.checkpoint": "deployment",
    "evaluate": "pipeline",
    "inference": "pipeline",
    "inference.batch_size": "deployment",
    "inference.deadline_ms": "deployment",
    "evaluation": "pipeline",
    "evaluation.window": "deployment",
    "evaluation.days": "deployment",
    "evaluation.minimum": "deployment",
    "evaluation.drift_rows": "deployment",
    "evaluation.drift_floor": "deployment",
    "deployments": "pipeline",
    "environment": "deployment",
    "store": "deployment",
    "engine": "deployment",
    "model": "deployment",
    "database": "deployment",
    "logging": "deployment",
    "recovery": "deployment",
    "promotion": "deployment",
    "reactions": "deployment",
    "deploy": "deployment",
    "retention": "deployment",
    "service": "deployment",
    "monitoring": "deployment",
    "relay": "deployment",
    "chat": "deployment",
}
# What an operator writes, none of it a default: at least one value of each deployment section.
OPERATOR: dict[str, Any] = {
    "trainer": {"checkpoint": {"every_seconds": 11, "keep": 8}},
    "inference": {"deadline_ms": 777, "batch_size": 512},
    "evaluation": {"window": 77, "days": 9, "minimum": 7, "drift_rows": 70, "drift_floor": 0.2},
    "store": {"root": "/srv/store"},
    "engine": {"threads": 3},
    "model": {"path": "versions", "batch_size": 64, "timeout": 5},
    "database": {"host": "db.internal", "password": "${secret:other-password}"},
    "logging": {"level": "ERROR", "format": "json"},
    "recovery": {"max_attempts": 9},
    "promotion": {"hours": 1.5},
    "reactions": {"training_per_day": 7},
    "deploy": {"relay_url": "http://relay.internal/prefect", "variables": {"region": "north"}},
    "retention": {"versions": 20},
    "service": {"max_rows": 17, "prediction_log": {"values": True}},
    "monitoring": {"expected_hours": {"training": 12}},
    "relay": {"port": 9999},
    "chat": [{"name": "ops", "kind": "slack", "url": "${secret:ops-url}"}],
}
# What a pipeline file may say instead.
OWN: dict[str, Any] = {
    "trainer": {"checkpoint": {"every_seconds": 3}},
    "inference": {"deadline_ms": 50},
    "evaluation": {"window": 5},
    "store": {"root": "/srv/mine"},
    "engine": {"threads": 2},
    "model": {"timeout": 2},
    "database": {"host": "db.mine"},
    "logging": {"level": "WARNING"},
    "recovery": {"max_attempts": 1},
    "promotion": {"hours": 2},
    "reactions": {"training_per_day": 0},
    "deploy": {"relay_url": "http://relay.mine/prefect"},
    "retention": {"versions": 2},
    "service": {"max_rows": 3},
    "monitoring": {"expected_hours": {"training": 1}},
    "relay": {"port": 9998},
    "chat": [{"name": "mine", "kind": "slack", "url": "${secret:mine-url}"}],
}
LAYERS = ("config/base.yaml", "config/development.yaml", "etc/ubuntu/10-site.yaml", "site.yaml")
OTHER: dict[str, Any] = {"pipeline": "other", "task": "regression", "source": {"kind": "sample"}, "target": "y"}


def keys(section: type[ConfigModel], above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the path of each field of a section, and of the sections in it that are not in a list or union."""
    for name, field in section.model_fields.items():
        path = (*above, field.alias or name)
        yield path
        if isinstance(field.annotation, type) and issubclass(field.annotation, ConfigModel):
            yield from keys(field.annotation, path)


def expected(path: tuple[str, ...]) -> str | None:
    named = (SCOPES.get(".".join(path[:length])) for length in range(len(path), 0, -1))
    return next((scope for scope in named if scope), None)


def leaves(tree: Any, above: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    if isinstance(tree, dict) and ".".join(above) != "monitoring.expected_hours":
        for name, inner in tree.items():
            yield from leaves(inner, (*above, name))
    else:
        yield ".".join(above), tree


def shown(settings: Settings, key: str) -> Any:
    value: Any = settings.model_dump(mode="json", by_alias=True)
    for part in key.split("."):
        value = value[part]
    if key == "chat":
        return [channel["name"] for channel in value]
    return value


def is_same(settings: Settings, key: str, value: Any) -> bool:
    if key == "database.password":
        return settings.database.password is not None and settings.database.password.name == "other-password"
    return bool(shown(settings, key) == ([channel["name"] for channel in value] if key == "chat" else value))


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def test_settings_keys_declare_expected_scope() -> None:
    assert {".".join(path): schema.scope_at(path) for path in keys(Settings)} == {
        ".".join(path): expected(path) for path in keys(Settings)
    }
    assert {path.split(".")[0] for path in SCOPES} == {
        field.alias or name for name, field in Settings.model_fields.items()
    }


def test_settings_sections_declare_scope() -> None:
    known = [
        section
        for section in ConfigModel.__subclasses__()
        if section.__module__.startswith("ai_workflow.config.settings")
    ]
    assert known
    assert [section.__name__ for section in known if "scope" not in vars(section)] == []


def test_values_cover_every_deployment_section() -> None:
    deployment = {key for key, scope in SCOPES.items() if scope == "deployment"} - {"environment"}
    for tree in (OPERATOR, OWN):
        assert {key.split(".")[0] for key in deployment} == set(tree)
    covered = [key for key, _ in leaves(OPERATOR)]
    assert all(any(leaf == key or leaf.startswith(f"{key}.") for leaf in covered) for key in deployment)


@pytest.mark.parametrize("layer", LAYERS)
def test_operator_values_survive_other_pipeline_file(layer: str, project: Project) -> None:
    below = yaml.safe_load((project.root / layer).read_text()) if (project.root / layer).exists() else {}
    project.write(layer, yaml.safe_dump(below | OPERATOR))
    env = {"AIW_CONFIG": str(project.root / "site.yaml")} if layer == "site.yaml" else {}
    loaded = project.load(project.write("other.yaml", yaml.safe_dump(OTHER)), env=env)
    assert loaded.settings.pipeline == "other"
    for key, value in leaves(OPERATOR):
        assert is_same(loaded.settings, key, value), key
        assert (loaded.origin(key) or "").startswith(f"{layer}:"), key


@pytest.mark.parametrize("layer", LAYERS)
def test_pipeline_file_can_override_operator_values(layer: str, project: Project) -> None:
    below = yaml.safe_load((project.root / layer).read_text()) if (project.root / layer).exists() else {}
    project.write(layer, yaml.safe_dump(below | OPERATOR))
    env = {"AIW_CONFIG": str(project.root / "site.yaml")} if layer == "site.yaml" else {}
    settings = project.load(project.write("other.yaml", yaml.safe_dump(OTHER | OWN)), env=env).settings
    for key, value in leaves(OWN):
        assert is_same(settings, key, value), key
    # The keys beside those that it sets keep what the layer says.
    assert (settings.trainer.checkpoint.keep, settings.evaluation.minimum, settings.model.batch_size) == (8, 7, 64)


def test_overrides_with_other_pipeline_keep_operator_values(project: Project) -> None:
    project.write("config/development.yaml", yaml.safe_dump(OPERATOR))
    settings = project.load(overrides=OTHER | {"retention.min_age_hours": 4}).settings
    assert (settings.pipeline, settings.retention.versions, settings.retention.min_age_hours) == ("other", 20, 4)
    assert settings.trainer.checkpoint.keep == 8


def test_other_trainer_kind_keeps_checkpoint_settings(project: Project) -> None:
    project.write("config/development.yaml", "trainer: {steps: 9, params: {learning_rate: 0.1}, checkpoint: {keep: 8}}")
    mine = project.write("mine.yaml", "trainer: {kind: torch_mlp}")
    settings = project.load(mine, overrides={"trainer.kind": "torch_mlp"}).settings
    assert (settings.trainer.kind, settings.trainer.checkpoint.keep) == ("torch_mlp", 8)
    assert project.load(mine).settings.trainer.checkpoint.keep == 8


def test_pipeline_settings_do_not_leak_into_other_pipeline(project: Project) -> None:
    project.write(
        "config/development.yaml",
        yaml.safe_dump(
            {
                "id": "key",
                "timestamp": "at",
                "schema": {"at": {"type": "datetime"}},
                "deduplicate": "rows",
                "reject_limit": 0.5,
                "features": {"min_count": 4},
                "trainer": {"steps": 3, "params": {"max_depth": 2}},
                "evaluate": {"minimum": 0.4},
                "deployments": {"training": {"interval": 60}},
                "inference": {"source": {"kind": "csv", "path": "x.csv"}, "default_response": {"prediction": 1}},
                "evaluation": {
                    "source": {"kind": "csv", "path": "labels.csv"},
                    "id": "n",
                    "label": "y",
                    "tolerance": 2,
                },
            }
        ),
    )
    settings = project.load(project.write("other.yaml", yaml.safe_dump(OTHER))).settings
    defaults = Settings.model_validate(OTHER)
    for name, field in Settings.model_fields.items():
        if SCOPES[field.alias or name] == "pipeline":
            assert getattr(settings, name) == getattr(defaults, name), name


def test_example_pipeline_keeps_shipped_deployment_values() -> None:
    root = Path(__file__).parents[1]
    plain, example = load(root=root, env={}), load("config/examples/credit.yaml", root=root, env={})
    for key, scope in SCOPES.items():
        if scope == "deployment" and key != "inference.deadline_ms":
            assert shown(plain.settings, key) == shown(example.settings, key), key
