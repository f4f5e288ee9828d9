"""Names of own code in the settings: dotted paths and entry points."""

from __future__ import annotations

from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path

import pytest

from ai_workflow.config.problems import ConfigError
from ai_workflow.errors import StageError
from ai_workflow.plugins import names
from ai_workflow.plugins.names import CodePath
from tests.config_project import BASE, Project

pytestmark = pytest.mark.unit
BUILT_IN = ("lightgbm", "torch_mlp")


def installed(monkeypatch: pytest.MonkeyPatch, *points: tuple[str, str]) -> None:
    """Make packages with entry points (name, value) appear to be installed."""
    found = EntryPoints(EntryPoint(name, value, "ai_workflow.trainers") for name, value in points)
    monkeypatch.setattr(names, "entry_points", lambda group: found.select(group=group))


def test_dotted_path_and_entry_point_name_an_object(monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, ("catboost", "credit_models.boosting : CatBoost"))
    assert names.path("trainers", "credit.models:CatBoost") == CodePath("credit.models", "CatBoost")
    assert names.path("trainers", "catboost") == CodePath("credit_models.boosting", "CatBoost")
    assert names.path("sources", "catboost") is None


@pytest.mark.parametrize("text", ["credit.models.CatBoost", "credit:", ":X", "a b:c", "credit:a.b", "1x:y", ""])
def test_text_that_is_neither_path_nor_known_name_lists_the_known_names(
    monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    installed(monkeypatch, ("catboost", "a:B"))
    problem = names.problem("trainers", text, BUILT_IN)
    assert problem == f"unknown name {text!r}; known: lightgbm, torch_mlp, catboost; own code is written module:name"


def test_misspelled_name_gets_a_proposal(monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, ("catboost", "a:B"))
    for text, meant in (("lightgmb", "lightgbm"), ("cat_boost", "catboost")):
        assert f"did you mean '{meant}'?" in str(names.problem("trainers", text, BUILT_IN))


def test_two_packages_with_one_entry_point_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, ("catboost", "a:B"), ("catboost", "c:D"))
    with pytest.raises(StageError, match=r"so its meaning is not clear.*a:B, c:D"):
        names.path("trainers", "catboost")
    assert "Uninstall all but one" in str(names.problem("trainers", "catboost", BUILT_IN))


def test_entry_point_without_object_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, ("catboost", "a.b"))
    assert "names no object" in str(names.problem("trainers", "catboost", BUILT_IN))


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path / "project")


def loaded_error(project: Project, pipeline: str, kind: str) -> str:
    path = project.write(pipeline, f"{BASE}\ntrainer:\n  steps: 3\n  kind: {kind}\n")
    with pytest.raises(ConfigError) as raised:
        project.load(path)
    (problem,) = raised.value.problems
    return str(problem)


def test_unknown_trainer_is_reported_with_file_line_and_key(project: Project) -> None:
    assert loaded_error(project, "mine.yaml", "lightgmb") == (
        "mine.yaml:8: trainer.kind: unknown name 'lightgmb'; did you mean 'lightgbm'? known: lightgbm, torch_mlp; "
        "own code is written module:name"
    )


def test_absent_module_is_reported_with_the_searched_folders(project: Project) -> None:
    found = loaded_error(project, "pipelines/credit/pipeline.yaml", "credit.models:CatBoost")
    folders = ", ".join(str(project.root / name) for name in ("pipelines/credit", "pipelines", "."))
    assert found.startswith("pipelines/credit/pipeline.yaml:8: trainer.kind: credit.models:CatBoost: there is no mod")
    assert f" in {folders.removesuffix('/.')}; " in found


def test_absent_class_is_reported_with_the_names_of_the_module(project: Project) -> None:
    project.write("pipelines/credit/models.py", "import os\n\nclass Boost: ...\n\ndef load(model): ...\n")
    found = loaded_error(project, "pipelines/credit/pipeline.yaml", "credit.models:CatBoost")
    assert found.endswith("models.py does not define CatBoost; it defines Boost, load, os")


@pytest.mark.parametrize(
    ("file", "kind"),
    [
        ("pipelines/credit/models.py", "models:Boost"),
        ("pipelines/credit/models.py", "credit.models:Boost"),
        ("pipelines/shared.py", "shared:Boost"),
        ("team/boost.py", "team.boost:Boost"),
    ],
)
def test_module_is_found_beside_the_pipeline_file_and_in_the_project(project: Project, file: str, kind: str) -> None:
    project.write(file, "raise RuntimeError('not run by a check of the configuration')\nclass Boost: ...\n")
    path = project.write("pipelines/credit/pipeline.yaml", f"{BASE}\ntrainer: {{kind: '{kind}'}}\n")
    assert project.load(path).settings.trainer.kind == kind


@pytest.mark.parametrize(
    ("group", "text", "key"),
    [
        ("trainers", "trainer: {kind: cost}", "trainer.kind"),
        ("features", "features: {derive: [cost]}", "features.derive"),
        ("metrics", "evaluate: {metric: cost, metrics: [cost]}", "evaluate.metric"),
        ("sources", "inference: {source: {kind: cost}}", "inference.source.kind"),
        ("channels", "chat: [{name: a, kind: cost}]", "chat.0"),
    ],
)
def test_each_kind_of_own_code_takes_entry_points(
    monkeypatch: pytest.MonkeyPatch, project: Project, group: str, text: str, key: str
) -> None:
    path = project.write("mine.yaml", f"{BASE}{text}\n")
    project.write("mine.py", "def cost(): ...\n")
    points = [EntryPoint("cost", "mine:cost", f"ai_workflow.{group}")]
    monkeypatch.setattr(names, "entry_points", lambda group: EntryPoints(points).select(group=group))
    project.load(path)
    points.append(EntryPoint("cost", "other:cost", f"ai_workflow.{group}"))
    with pytest.raises(ConfigError, match=f"{key}.*so its meaning is not clear.*mine:cost, other:cost"):
        project.load(path)
    points[:] = [EntryPoint("coast", "mine:cost", f"ai_workflow.{group}")]
    with pytest.raises(ConfigError, match=f"{key}.*unknown name 'cost'; did you mean 'coast'?"):
        project.load(path)
