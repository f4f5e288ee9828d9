"""The pipelines of a project are the folders of pipelines/."""

from __future__ import annotations

from pathlib import Path

import pytest

from ai_workflow.cli.common_options import ConfigOptions
from ai_workflow.config import pipeline_folders, project_pipelines
from ai_workflow.config.problems import ConfigError
from tests.config_project import BASE, Project

PIPELINE = BASE.replace("pipeline: base", "pipeline: {}")


def add(project: Project, name: str, text: str = PIPELINE) -> None:
    project.write(f"pipelines/{name}/pipeline.yaml", text.replace("{}", name))


def refused(project: Project) -> str:
    with pytest.raises(ConfigError) as error:
        project_pipelines.load(project.root, env=project.env)
    return str(error.value)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def test_project_without_pipelines_has_none(project: Project) -> None:
    assert project_pipelines.load(project.root, env=project.env) == {}
    (project.root / "pipelines").mkdir()
    assert project_pipelines.load(project.root, env=project.env) == {}


def test_each_folder_is_a_pipeline_with_its_own_settings(project: Project) -> None:
    add(project, "credit", PIPELINE + "trainer: {steps: 7}\n")
    add(project, "sales")
    for ignored in ("__pycache__", ".git"):
        (project.root / "pipelines" / ignored).mkdir()
    project.write("pipelines/README.md", "")
    pipelines = project_pipelines.load(project.root, env=project.env)
    assert {name: loaded.settings.trainer.steps for name, loaded in pipelines.items()} == {"credit": 7, "sales": 200}
    assert pipelines["sales"].settings.models == "models/development/sales"


@pytest.mark.parametrize("given", ["credit", "pipelines/credit/pipeline.yaml"])
def test_pipeline_is_chosen_by_name_or_path(project: Project, given: str) -> None:
    add(project, "credit")
    assert project.load(given).settings.pipeline == "credit"
    assert project.load(env={"AIW_CONFIG": given}).settings.pipeline == "credit"


def test_file_of_the_given_name_wins_over_a_pipeline(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    add(project, "credit")
    monkeypatch.chdir(project.root)
    project.write("credit.yaml", PIPELINE.replace("{}", "other"))
    assert project.load("credit.yaml").settings.pipeline == "other"
    # A folder of the same name is no file.
    (project.root / "credit").mkdir()
    assert project.load("credit").settings.pipeline == "credit"


def test_unknown_name_lists_the_pipelines(project: Project) -> None:
    add(project, "credit")
    add(project, "sales")
    with pytest.raises(ConfigError, match=r"credits does not exist\. .*pipelines/ has credit, sales"):
        project.load("credits")


def test_problems_of_all_folders_are_reported_at_once(project: Project) -> None:
    (project.root / "pipelines" / "empty").mkdir(parents=True)
    for name in ("Credit", "credit-2", "2credit", "kredit ä"):
        add(project, name)
    text = refused(project)
    assert "pipelines/empty: has no pipeline.yaml. Add it, or remove the folder" in text
    for name in ("Credit", "credit-2", "2credit", "kredit ä"):
        assert f"pipelines/{name}: is not a name of a pipeline" in text


def test_problems_of_all_files_are_reported_at_once(project: Project) -> None:
    add(project, "one", PIPELINE + "stepz: 1\n")
    add(project, "two", PIPELINE.replace("iris", "irises"))
    add(project, "three", PIPELINE.replace("{}", "one", 1))
    add(project, "four", "task: regression\n")
    text = refused(project)
    assert "pipelines/one/pipeline.yaml:5: stepz: unknown key" in text
    assert "pipelines/two/pipeline.yaml:3: source.name" in text
    assert (
        "pipelines/three/pipeline.yaml:1: pipeline: 'one' is not the name of its folder. Write pipeline: three" in text
    )
    assert "pipelines/four/pipeline.yaml: pipeline: required key is missing. Write pipeline: four" in text


def test_valid_pipelines_are_listed_beside_the_invalid_folder(project: Project) -> None:
    add(project, "credit")
    (project.root / "pipelines" / "empty").mkdir()
    assert pipeline_folders.names(project.root) == ["credit"]
    assert pipeline_folders.file_of(project.root, "empty") is None
    assert pipeline_folders.file_of(project.root, "../credit") is None


@pytest.mark.parametrize(
    ("options", "schedule"),
    [
        ("enabled: true", {"interval": 900, "slug": "schedule"}),
        ("interval: null", None),
        ("interval: 60", {"interval": 60, "slug": "schedule"}),
        ("tags: [nightly]", {"interval": 900, "slug": "schedule"}),
        ("cron: 0 3 * * *", {"cron": "0 3 * * *", "timezone": "UTC", "slug": "schedule"}),
    ],
)
def test_schedule_of_evaluation_replaces_the_default(project: Project, options: str, schedule: object) -> None:
    add(project, "credit", PIPELINE + f"deployments: {{evaluation: {{{options}}}}}\n")
    assert project.load("credit").settings.deployments.evaluation.schedule == schedule


@pytest.mark.parametrize("options", ["interval: 60", "interval: 60, cron: null"])
def test_interval_of_retention_replaces_its_cron(project: Project, options: str) -> None:
    add(project, "credit", PIPELINE + f"deployments: {{retention: {{{options}}}}}\n")
    assert project.load("credit").settings.deployments.retention.schedule == {"interval": 60, "slug": "schedule"}


@pytest.mark.parametrize("flow", ["training", "evaluation", "retention"])
def test_two_kinds_of_schedule_are_rejected(project: Project, flow: str) -> None:
    add(project, "credit", PIPELINE + f"deployments:\n  {flow}: {{cron: 0 3 * * *, interval: 60}}\n")
    with pytest.raises(ConfigError, match=f"deployments.{flow}: has both cron and interval"):
        project.load("credit")


@pytest.mark.parametrize("is_inside", [True, False])
def test_option_takes_the_name_of_a_pipeline(
    project: Project, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory, is_inside: bool
) -> None:
    add(project, "credit")
    monkeypatch.setenv("AIW_ROOT", str(project.root))
    monkeypatch.chdir(project.root if is_inside else tmp_path_factory.mktemp("elsewhere"))
    file = Path("pipelines/credit/pipeline.yaml")
    assert ConfigOptions(pipeline=Path("credit")).pipeline == (file if is_inside else project.root / file)
    assert ConfigOptions(pipeline=Path("credits")).pipeline == Path("credits")
