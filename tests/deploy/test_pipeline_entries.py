"""prefect.yaml has the deployments of pipelines/ in a generated block."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from ai_workflow.cli.main import exit_code
from ai_workflow.config.problems import ConfigError
from ai_workflow.provisioning import pipeline_entries, predeploy, schedules
from ai_workflow.provisioning.code_source import Source
from ai_workflow.provisioning.deployments import declaration
from ai_workflow.provisioning.prefect_file import PrefectFileError
from tests.deploy.deploying_project import furnish

PIPELINE = "pipeline: {}\ntask: classification\nsource: {{kind: sample, name: iris}}\ntarget: target\n"
NIGHTLY = "deployments:\n  training: {cron: 0 3 * * *, timezone: Europe/Berlin, tags: [nightly], concurrency: 2}\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A project with the flows, the configuration and the deployments of this project, and two pipelines."""
    furnish(tmp_path)
    add(tmp_path, "sales")
    add(tmp_path, "credit", NIGHTLY + "  scoring: {parameters: {version: stable}}\n  retention: {enabled: false}\n")
    return tmp_path


def add(folder: Path, name: str, more: str = "") -> None:
    path = folder / "pipelines" / name / "pipeline.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(PIPELINE.format(name) + more)


def deployments(folder: Path) -> dict[tuple[str, str], dict[str, Any]]:
    listed = yaml.safe_load((folder / "prefect.yaml").read_text())["deployments"]
    return {(each["entrypoint"].rpartition(":")[2], each["name"]): each for each in listed}


def test_each_pipeline_has_its_deployments(folder: Path) -> None:
    path = folder / "prefect.yaml"
    before = deployments(folder)
    assert pipeline_entries.sync(path)
    added = {key: entry for key, entry in deployments(folder).items() if key not in before}
    flows = ("training", "scoring", "evaluation", "promotion", "retention")
    assert set(added) == {(flow, name) for flow in flows for name in ("credit", "sales")} - {("retention", "credit")}
    training = added["training", "credit"]
    assert training["tags"] == ["ai-workflow", "kind:work", "pipeline:credit", "nightly"]
    assert training["schedules"] == [{"cron": "0 3 * * *", "timezone": "Europe/Berlin", "slug": "schedule"}]
    assert training["concurrency_limit"]["limit"] == 2
    assert training["parameters"] == {"config": "pipelines/credit/pipeline.yaml"}
    assert added["scoring", "credit"]["parameters"]["version"] == "stable"
    assert "schedules" not in added["training", "sales"]
    # Pools and queues are those of the deployments of the whole project.
    for (flow, _), entry in added.items():
        assert entry["work_pool"] == before[flow, flow]["work_pool"]


def test_second_sync_changes_nothing_and_a_removed_pipeline_goes(folder: Path) -> None:
    path = folder / "prefect.yaml"
    original = path.read_text()
    assert pipeline_entries.sync(path)
    assert not pipeline_entries.sync(path)
    for name in ("credit", "sales"):
        (folder / "pipelines" / name / "pipeline.yaml").unlink()
        (folder / "pipelines" / name).rmdir()
    assert "not up to date" in pipeline_entries.check(path)[0]
    assert pipeline_entries.sync(path)
    assert path.read_text() == original


@pytest.mark.integration
def test_synced_file_is_valid_and_names_the_pipeline(folder: Path) -> None:
    path = folder / "prefect.yaml"
    pipeline_entries.sync(path)
    checked = {each.name: each for each in predeploy.check(path)}
    source = Source(folder, pipeline="sample", environment="production")
    fields = declaration(checked["training/sales"], source)
    assert {"pipeline:sales", "environment:production", "owner:sample/production"} <= set(fields["tags"])
    assert "pipeline:sample" not in fields["tags"]
    assert "sales-model-card" in fields["description"]
    assert fields["parameters"]["config"] == "pipelines/sales/pipeline.yaml"
    assert "pipeline:sample" in declaration(checked["training/training"], source)["tags"]


@pytest.mark.integration
def test_outdated_file_is_refused_before_deployment(folder: Path) -> None:
    path = folder / "prefect.yaml"
    with pytest.raises(PrefectFileError, match=r"not up to date\. Run: ai-workflow pipeline sync"):
        predeploy.check(path)
    pipeline_entries.sync(path)
    add(folder, "sales", "deployments: {scoring: {interval: 3600}}\n")
    with pytest.raises(PrefectFileError, match="not up to date"):
        predeploy.check(path)


@pytest.mark.integration
def test_schedule_that_never_fires_is_refused(folder: Path) -> None:
    path = folder / "prefect.yaml"
    add(folder, "sales", "deployments: {training: {cron: 0 0 30 2 *}}\n")
    pipeline_entries.sync(path)
    with pytest.raises(PrefectFileError, match=r"deployment sales: schedules\[0\] has no next date"):
        predeploy.check(path)


@pytest.mark.parametrize(
    ("schedule", "problem"),
    [
        ({"cron": "0 9 * * 1"}, None),
        ({"interval": 900}, None),
        ({"rrule": "FREQ=DAILY"}, None),
        ({"cron": "0 0 30 2 *"}, "next date"),
        ({"cron": "every day"}, "Invalid cron string"),
        ({"cron": 5}, "string"),
        ({"cron": "0 9 * * 1", "timezone": "Mars/Phobos"}, "timezone"),
        ({"interval": 0}, "greater than 0"),
        ({"interval": "soon"}, "timedelta"),
        ({"interval": 1e12}, "out of range"),
        ({"rrule": "DTSTART:20200101T000000Z\nRRULE:FREQ=DAILY;COUNT=1"}, "next date"),
    ],
)
def test_schedule_without_next_date_is_a_problem(schedule: dict[str, Any], problem: str | None) -> None:
    text = schedules.problem_of(schedule)
    assert text is None if problem is None else problem in str(text)


def test_file_without_markers_names_the_lines_to_add(folder: Path) -> None:
    path = folder / "prefect.yaml"
    path.write_text(path.read_text().replace(pipeline_entries.BEGIN, "").replace(pipeline_entries.END, ""))
    with pytest.raises(PrefectFileError) as error:
        pipeline_entries.sync(path)
    assert f"Add these two lines below `deployments:`:\n{pipeline_entries.BEGIN}\n{pipeline_entries.END}" in str(
        error.value
    )


def test_linked_file_is_written_where_it_is(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = folder / "prefect.yaml"
    real = tmp_path_factory.mktemp("elsewhere") / "shared.yaml"
    path.rename(real)
    path.symlink_to(real)
    assert pipeline_entries.sync(path)
    assert path.is_symlink()
    assert "name: credit" in real.read_text()


def test_file_that_cannot_be_written_is_an_error(folder: Path) -> None:
    path = folder / "prefect.yaml"
    (folder / ".prefect.yaml.new").mkdir()
    before = path.read_bytes()
    with pytest.raises(PrefectFileError, match=r"prefect\.yaml cannot be written: Is a directory"):
        pipeline_entries.sync(path)
    assert path.read_bytes() == before


def test_invalid_pipeline_leaves_the_file_as_it_is(folder: Path) -> None:
    path = folder / "prefect.yaml"
    add(folder, "sales", "typo: 1\n")
    before = path.read_bytes()
    with pytest.raises(ConfigError, match="typo"):
        pipeline_entries.sync(path)
    assert path.read_bytes() == before
    assert not list(folder.glob(".prefect*"))


def test_commands_list_sync_and_check_pipelines(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setenv("AIW_ROOT", str(folder))
    assert [exit_code(["pipeline", name]) for name in ("list", "sync", "sync")] == [0, 0, 0]
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "credit  classification of target  sample  lightgbm"
    assert lines[2:] == [f"{folder / 'prefect.yaml'} changed", "nothing changed"]
    assert exit_code(["config", "check"]) == 0
    assert [line.split(",")[0] for line in capsys.readouterr().out.splitlines()] == [
        f"configuration ok: pipeline {name}" for name in ("sample", "credit", "sales")
    ]
    add(folder, "sales", "typo: 1\n")
    assert exit_code(["config", "check"]) == 2
    assert "pipelines/sales/pipeline.yaml:5: typo: unknown key" in capsys.readouterr().err


def test_options_of_a_pipeline_outside_of_the_folder_are_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AIW_ROOT", str(folder))
    path = folder / "other.yaml"
    path.write_text(PIPELINE.format("other") + "deployments:\n  training: {interval: 60}\n")
    assert exit_code(["config", "check", "--pipeline", str(path)]) == 2
    assert "deployments has no effect, because there is no pipelines/other/pipeline.yaml" in capsys.readouterr().err


def test_channel_of_an_unknown_pipeline_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AIW_ROOT", str(folder))
    layer = folder / "chat.yaml"
    monkeypatch.setenv("AIW_CONFIG", str(layer))
    channel = "{{name: {0}, kind: wecom, url: 'https://x.example/send?key=k', pipelines: [{1}]}}"
    chats = [channel.format("all", ""), channel.format("credit", "credit"), channel.format("sales", "credit, sale")]
    layer.write_text(f"chat: [{', '.join(chats)}]\n")
    assert exit_code(["config", "check"]) == 2
    error = capsys.readouterr().err
    assert "chat.2.pipelines: there is no pipeline sale; there are: credit, sales, sample" in error
    assert "chat.1.pipelines" not in error
