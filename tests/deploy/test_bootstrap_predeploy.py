"""A prefect.yaml that cannot work is refused before anything is deployed, with all that is wrong with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from prefect.utilities.schema_tools import validate

from ai_workflow.provisioning import predeploy
from ai_workflow.provisioning.deployments import Source, declaration
from ai_workflow.provisioning.prefect_file import PrefectFileError
from tests.flows.workspace import ROOT

POOL = {"name": "p"}
WEEKLY = {"cron": "0 9 * * 1", "slug": "s"}

PAUSED = """
from prefect import flow
from prefect.flow_runs import pause_flow_run

@flow
def paused() -> None:
    pause_flow_run(timeout=60)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A project folder with the flows of this project, and one that pauses."""
    (tmp_path / "flows").symlink_to(ROOT / "flows")
    (tmp_path / "paused.py").write_text(PAUSED)
    return tmp_path


def write(folder: Path, *deployments: dict[str, Any], **whole: Any) -> Path:
    """Write a prefect.yaml; a deployment that says nothing else is one of `drill`."""
    path = folder / "prefect.yaml"
    usual = {"name": "d", "entrypoint": "flows/drill.py:drill", "work_pool": POOL}
    path.write_text(yaml.safe_dump({"deployments": [usual | one for one in deployments], **whole}))
    return path


def problems(path: Path, **environment: str) -> str:
    """Return what is said of a file that is refused."""
    with pytest.raises(PrefectFileError) as refused:
        predeploy.check(path, environment)
    return str(refused.value)


@pytest.mark.integration
def test_project_prefect_yaml_is_valid_and_has_every_flow() -> None:
    checked = predeploy.check(ROOT / "prefect.yaml", {})
    named = {one.entry.name: one.flow.name for one in checked}
    wished = {"training", "scoring", "evaluation", "promotion", "retention", "recovery", "drill", "reaction"}
    assert named == {name: name for name in wished}
    for one in checked:
        limit = one.entry.fields.get("concurrency_limit")
        # Their own locks keep two apart: the slot of a recovery that was killed would keep others from its work, and a
        # retention that waits for a person holds no slot.
        assert (limit is None) == (one.entry.name in {"recovery", "retention"})
        if limit:
            assert limit["collision_strategy"] == "ENQUEUE" or one.entry.name == "evaluation"


@pytest.mark.parametrize(
    ("deployment", "says"),
    [
        ({"tags": ["{{ $AIW_NOT_SET }}"]}, "tags[0]: the variable AIW_NOT_SET is not set"),
        ({"parameters": {"waht": "message"}}, "parameters.waht is not a parameter of the flow, did you mean 'what'?"),
        ({"parameters": {"what": "nonsense"}}, "parameters.what: 'nonsense' is not one of"),
        ({"parameters": {"log_level": "LOUD"}}, "parameters.log_level"),
        ({"parameters": {"overrides": {"Trainer Steps": 1}}}, "parameters.overrides"),
        ({"schedules": [WEEKLY | {"parameters": {"nope": 1}}]}, "schedules[0].parameters.nope"),
        ({"schedules": [WEEKLY | {"interval": 60}]}, "exactly one of interval, cron and rrule"),
        ({"schedules": [{"interval": 60}]}, "schedules[0] has no slug"),
        ({"entrypoint": "flows/none.py:none"}, "there is no file flows/none.py"),
        ({"entrypoint": "flows/drill.py:none"}, "cannot be imported"),
        ({"concurrency_limit": {"limit": 1, "collision_strategy": "WAIT"}}, "one of ENQUEUE, CANCEL_NEW"),
        ({"entrypoint": "paused.py:paused", "concurrency_limit": 1}, "this flow pauses for approval"),
        ({"work_pol": POOL}, "work_pol is not known, did you mean 'work_pool'?"),
        (
            {"work_pool": {"name": "p", "job_variables": {"env": {"TOKEN": "{{ prefect.blocks.secret.token }}"}}}},
            "prefect.blocks.secret.token would be stored in plain text",
        ),
    ],
)
def test_invalid_deployment_is_rejected(folder: Path, deployment: dict[str, Any], says: str) -> None:
    said = problems(write(folder, deployment))
    assert says in said
    assert "deployment d: " in said
    assert "1 problem, nothing was deployed" in said


def test_all_deployment_problems_are_reported_together(folder: Path) -> None:
    path = write(
        folder, {"parameters": {"nope": 1, "what": "no"}}, {"name": "e", "version": "{{ $AIW_NOT_SET }}"}, {"name": "d"}
    )
    said = problems(path)
    assert "4 problems" in said
    for part in ("parameters.nope", "parameters.what", "deployment e: version", "two deployments are named d"):
        assert part in said


@pytest.mark.integration
def test_environment_variable_in_deployment_is_substituted(folder: Path) -> None:
    [one] = predeploy.check(write(folder, {"version": "v-{{ $AIW_RELEASE }}"}), {"AIW_RELEASE": "7"})
    assert declaration(one, Source(folder))["version"] == "v-7"


def test_missing_or_invalid_prefect_yaml_fails_with_single_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert predeploy.main(tmp_path / "prefect.yaml") == 1
    assert "cannot be read" in capsys.readouterr().err
    (tmp_path / "prefect.yaml").write_text("deployments: {")
    assert predeploy.main(tmp_path / "prefect.yaml") == 1
    assert "is not YAML" in capsys.readouterr().err


@pytest.mark.integration
@pytest.mark.parametrize(
    ("given", "passes"),
    [
        ({}, True),
        ({"config": "pipeline.yaml", "log_level": "DEBUG", "overrides": {"trainer.params.learning_rate": 0.1}}, True),
        ({"environment": "production", "traceparent": f"00-{'a' * 32}-{'b' * 16}-01"}, True),
        ({"log_level": "LOUD"}, False),
        ({"config": "pipeline.txt"}, False),
        ({"environment": "../etc"}, False),
        ({"traceparent": "00-nonsense"}, False),
        ({"overrides": "trainer.steps=3"}, False),
        ({"no_such_parameter": 1}, False),
    ],
)
def test_training_parameter_schema_rejects_invalid_values(given: dict[str, Any], passes: bool) -> None:
    [training] = [one for one in predeploy.check(ROOT / "prefect.yaml", {}) if one.entry.name == "training"]
    assert (not validate(given, training.schema)) is passes


def test_git_pull_step_references_token_block(tmp_path: Path) -> None:
    [step] = Source(tmp_path, "https://git.example.com/w.git", "v1", "git-token").steps()
    clone = step["prefect.deployments.steps.git_clone"]
    assert clone["repository"] == "https://git.example.com/w.git"
    assert clone["branch"] == "v1"
    assert clone["access_token"] == "{{ prefect.blocks.secret.git-token }}"
