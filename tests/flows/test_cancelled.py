"""A run that a person cancels is cancelled in its trace too: no failure, and nothing that recovery resumes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import StateType
from prefect.states import Cancelling
from prefect.utilities.callables import parameter_schema
from prefect.utilities.schema_tools import validate

from ai_workflow.exporter.runs import fold
from ai_workflow.telemetry import journal
from ai_workflow.telemetry.journal import CANCELLED, ERROR, RECOVERY, RUN, SKIPPED, STARTED, SUCCESS, Event
from flows.scoring import scoring
from tests.flows import sample_tables
from tests.flows.prefect_api import until
from tests.flows.prefect_runs import events, in_training, type_of
from tests.flows.prefect_worker import Worker, deploy
from tests.flows.workspace import Workplace

ID = "ab" * 16


def _events(*told: tuple[str, str]) -> list[Event]:
    return [Event(ID, "credit", "training", stage, status, pid=2**22 + 1) for stage, status in told]


@pytest.mark.parametrize(
    ("told", "outcome"),
    [
        ([(RUN, STARTED), ("trainer", STARTED), ("trainer", CANCELLED), (RUN, CANCELLED)], "cancelled in trainer"),
        ([(RUN, STARTED), ("trainer", STARTED), ("trainer", CANCELLED)], "cancelled in trainer"),
        ([(RUN, STARTED), ("trainer", STARTED), (RECOVERY, SKIPPED)], "cancelled in trainer"),
        ([(RUN, STARTED), (RUN, CANCELLED)], "cancelled"),
        ([(RECOVERY, SKIPPED)], "cancelled before it began"),
        ([(RUN, STARTED), ("trainer", STARTED), (RECOVERY, ERROR)], "killed in trainer"),
        ([(RUN, STARTED), ("trainer", STARTED)], "killed in trainer"),
        ([(RUN, STARTED), ("trainer", ERROR), (RUN, ERROR)], "failed in trainer"),
        ([(RUN, STARTED), ("trainer", CANCELLED), (RUN, CANCELLED), (RUN, STARTED), ("trainer", SUCCESS),
          (RUN, SUCCESS)], "finished"),
    ],
)  # fmt: skip
def test_trace_outcome_is_derived_from_stage_events(told: list[tuple[str, str]], outcome: str) -> None:
    assert journal.outcome(_events(*told)) == outcome


def test_cancelled_run_is_exported_as_neither_failed_nor_completed() -> None:
    [run], _ = fold(_events((RUN, STARTED), ("trainer", STARTED), ("trainer", CANCELLED), (RUN, CANCELLED)))
    assert (run.ended, run.failed, run.completed) == (True, False, False)


@pytest.mark.parametrize(("version", "is_valid"), [
    ("latest", True), ("stable", True), ("model_v1.0", True), ("model_v12.34", True), ("", False), ("newest", False),
    ("model_v1.0\n", False), ("model_v1.0\n[ERROR] fake: line", False), ("latest\x1b[31m", False),
])  # fmt: skip
def test_scoring_version_parameter_accepts_only_aliases_and_versions(version: str, is_valid: bool) -> None:
    schema = parameter_schema(scoring).model_dump()
    assert list(validate({"version": version}, schema)) is not is_valid


@pytest.fixture
def client() -> Iterator[SyncPrefectClient]:
    with get_client(sync_client=True) as found:
        yield found


@pytest.mark.slow
def test_cancelled_run_is_not_listed_as_failed(place: Workplace, client: SyncPrefectClient) -> None:
    steps = sample_tables.PIPELINE["trainer"] | {"steps": 10_000_000, "checkpoint": {"every_steps": 10, "keep": 2}}
    path = place.configure(trainer=steps)
    training = deploy(client, "training", {"config": str(path)})
    with Worker.start(place) as worker:
        run = client.create_flow_run_from_deployment(training)
        in_training(place, str(run.id))
        client.set_flow_run_state(run.id, Cancelling())
        until(lambda: [1] if type_of(client.read_flow_run(run.id)) == StateType.CANCELLED else [])
        found = until(lambda: told if (told := events(place, run.id))[-1].stage == RUN and len(told) > 1 else [])
    assert journal.outcome(found) == "cancelled in trainer", worker.output()
    assert not [event for event in found if event.status == ERROR]
    cli = [Path(sys.executable).with_name("ai-workflow"), "trace", "--failed"]
    done = subprocess.run(cli, cwd=place.folder, env=place.environment(), capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert "has failed" in done.stderr
