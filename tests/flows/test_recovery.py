"""A run whose process is gone is found, marked, and goes on where it was; one that lives is never touched."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import yaml
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.events import emit_event
from prefect.states import Cancelling, Crashed, Pending, Running, Scheduled

from ai_workflow.local.server import Server
from ai_workflow.orchestration import run_logs
from ai_workflow.storage import run_lock
from ai_workflow.telemetry import journal, trace_context
from flows.recovery import recovery
from tests.flows import sample_tables
from tests.flows.prefect_api import Api, until
from tests.flows.prefect_runs import events, in_training, recovered, tasks, type_of, watch
from tests.flows.prefect_worker import ROOT, Worker, deploy
from tests.flows.workspace import Workplace

# Real workers, killed and started again: `make test-all` runs it.
pytestmark = pytest.mark.slow
# Long enough to be killed in the middle, saved often enough to go on from there.
LONG = sample_tables.PIPELINE["trainer"] | {"steps": 600, "checkpoint": {"every_steps": 10, "keep": 2}}
QUICK = {"recovery.settle_seconds": 0, "recovery.max_attempts": 2}
MODEL = "data/trained/*/model.txt"
Recover = Callable[..., str]


@pytest.fixture(scope="module")
def place(prefect_server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workplace]:
    """One store for all runs of this file, which this process sees too."""
    place = _place(tmp_path_factory.mktemp("recovery"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIW_STORE", str(place.var))
        # The lines of this process belong to pytest.
        patch.setattr(run_logs, "set_up", lambda _: None)
        yield place


@pytest.fixture(scope="module")
def client(prefect_server: Server) -> Iterator[SyncPrefectClient]:
    with get_client(sync_client=True) as found:
        yield found


@pytest.fixture(scope="module")
def uninterrupted(prefect_server: Server, tmp_path_factory: pytest.TempPathFactory) -> tuple[Workplace, Worker]:
    """The same training elsewhere, begun and not waited for: what it ends in is what every other must end in."""
    place = _place(tmp_path_factory.mktemp("uninterrupted"))
    return place, Worker.of(place, "-m", "ai_workflow", "run", "training", "--pipeline", "pipeline.yaml")


@pytest.fixture(scope="module")
def training(place: Workplace, client: SyncPrefectClient) -> UUID:
    """The deployment of the training flow."""
    return deploy(client, "training", {"config": str(place.folder / "pipeline.yaml")})


@pytest.fixture(scope="module")
def worker(place: Workplace, training: UUID) -> Iterator[Worker]:
    """A worker that lives as long as the tests of this file."""
    with Worker.start(place) as found:
        yield found


@pytest.fixture
def recover(place: Workplace) -> Recover:
    """Run the recovery flow in this process, and return what it says; `at_once` runs so many of it at the same time."""

    async def runs(at_once: int, overrides: dict[str, Any]) -> str:
        states = await asyncio.gather(*[recovery(overrides=overrides, return_state=True) for _ in range(at_once)])
        assert all(state.is_completed() for state in states), states
        return " | ".join([(await state.aresult())["message"] for state in states])

    return lambda at_once=1, **overrides: asyncio.run(runs(at_once, QUICK | overrides))


def test_paused_process_is_not_recovered(
    uninterrupted: tuple[Workplace, Worker], client: SyncPrefectClient, monkeypatch: pytest.MonkeyPatch,
    recover: Recover,
) -> None:  # fmt: skip
    elsewhere, process = uninterrupted
    monkeypatch.setenv("AIW_STORE", str(elsewhere.var))
    run_id = in_training(elsewhere)
    os.kill(process.pid, signal.SIGSTOP)
    for _ in range(2):
        recover(**{"recovery.heartbeat_seconds": 0.01, "recovery.pending_minutes": 0.0001})
    stopped = client.read_flow_run(run_id)
    os.kill(process.pid, signal.SIGCONT)

    assert process.wait() == 0, process.output()
    assert type_of(stopped) == StateType.RUNNING
    assert type_of(client.read_flow_run(run_id)) == StateType.COMPLETED
    assert not recovered(elsewhere, run_id)
    assert not elsewhere.files(f"runs/{run_id}.lock"), "a run that ended well leaves its lock file"


def test_killed_direct_run_is_marked_crashed_with_resume_command(
    place: Workplace, client: SyncPrefectClient, recover: Recover, prefect_server: Server
) -> None:
    process = Worker.of(place, "-m", "ai_workflow", "run", "training", "--pipeline", "pipeline.yaml")
    run_id = in_training(place)
    until(lambda: tasks(client, run_id, StateType.RUNNING))
    process.kill()
    (place.folder / "quick.yaml").write_text(yaml.safe_dump({"recovery": {"settle_seconds": 0}}))
    by_hand = place.start(["-m", "ai_workflow", "run", "recovery"], AIW_CONFIG=str(place.folder / "quick.yaml"))
    before = client.read_flow_run(run_id)

    assert by_hand.code == 0, by_hand.output
    assert "To resume: ai-workflow run training --pipeline pipeline.yaml" in by_hand.output
    assert type_of(before) == StateType.CRASHED
    assert f"process {process.pid} is gone" in str(before.state)
    assert not tasks(client, run_id, StateType.RUNNING)
    assert tasks(client, run_id, StateType.CRASHED) == ["trainer"]
    assert [event.status for event in recovered(place, run_id)] == [journal.ERROR]
    assert journal.outcome(events(place, run_id)) == "killed in trainer"
    shown = Api(prefect_server).all("artifacts", artifacts={"key": {"any_": ["recovery"]}})
    ours = trace_context.short(events(place, run_id)[0].trace_id)
    assert any(ours in str(table["data"]) for table in shown)

    assert recover() == "no run needed recovery"
    assert client.read_flow_run(run_id).state_id == before.state_id
    assert len(recovered(place, run_id)) == 1


def test_late_crash_report_uses_no_retry_attempt(
    place: Workplace, training: UUID, client: SyncPrefectClient, recover: Recover
) -> None:
    run = client.create_flow_run_from_deployment(training)
    for _ in range(2):
        client.set_flow_run_state(run.id, Crashed(message="exit code 1"), force=True)
        recover(**{"recovery.max_attempts": 1})
        assert client.read_flow_run(run.id).state_name == "AwaitingRetry"
    client.set_flow_run_state(run.id, Pending(name="Submitting"), force=True)
    client.set_flow_run_state(run.id, Crashed(message="exit code 1"), force=True)
    recover(**{"recovery.max_attempts": 1})
    ended = client.read_flow_run(run.id)
    client.delete_flow_run(run.id)

    assert ended.state
    assert (ended.state.message or "").startswith("given up after 1 attempts")


@pytest.mark.slow
def test_orphaned_run_resumes_in_next_worker(
    place: Workplace, training: UUID, client: SyncPrefectClient, recover: Recover,
    uninterrupted: tuple[Workplace, Worker], prefect_server: Server, request: pytest.FixtureRequest,
) -> None:  # fmt: skip
    run = client.create_flow_run_from_deployment(training)
    with Worker.start(place) as first:
        in_training(place, str(run.id))
        first.kill()
    assert type_of(client.read_flow_run(run.id)) == StateType.RUNNING

    with run_lock.exclusive(place.store, "recovery-development"):
        assert recover() == "another recovery is running"
    assert "2 actions taken" in recover(2)
    waiting = client.read_flow_run(run.id)
    assert waiting.state is not None
    assert waiting.state.name == "AwaitingRetry"
    assert [event.message for event in recovered(place, run.id)][1:] == ["rescheduled, attempt 1 of 2"]
    assert recover() == "no run needed recovery"

    request.getfixturevalue("worker")
    together = watch(place, client, run)
    assert together == {1}, f"{together} processes trained at the same time"
    assert type_of(client.read_flow_run(run.id)) == StateType.COMPLETED
    assert any("Resuming from checkpoint" in line for line in Api(prefect_server).logs(str(run.id)))
    assert len({event.pid for event in events(place, run.id) if event.stage == "trainer"}) == 2
    assert journal.outcome(events(place, run.id)) == "finished"
    assert not tasks(client, run.id, StateType.RUNNING)

    elsewhere, process = uninterrupted
    assert process.wait() == 0
    assert [path.read_bytes() for path in place.files(MODEL)] == [path.read_bytes() for path in elsewhere.files(MODEL)]


@pytest.mark.slow
def test_run_failing_before_start_is_abandoned_after_max_attempts(
    place: Workplace, training: UUID, client: SyncPrefectClient, recover: Recover, worker: Worker
) -> None:
    run = client.create_flow_run_from_deployment(training, parameters={"no_such_parameter": 1})

    def given_up() -> list[FlowRun]:
        until(lambda: [True] if type_of(client.read_flow_run(run.id)) == StateType.CRASHED else [])
        # Not at once: the worker reports it once more after a while, and would crash the next attempt. Where that is
        # late, on a busy machine, the run is no longer what it was found as, and is left to the next recovery.
        recover(**{"recovery.settle_seconds": 4})
        found = client.read_flow_run(run.id)
        return [found] if found.state and (found.state.message or "").startswith("given up after 2 attempts") else []

    ended = until(given_up)[0]

    assert ended.run_count == 0, "it did not die before it began"
    processes = [state for state in client.read_flow_run_states(run.id) if state.name == "Submitting"]
    assert len(processes) == 3, "the first, and two more attempts"
    *rescheduled, last = [event.status for event in recovered(place, run.id)]
    assert set(rescheduled) == {journal.RESUMED}
    # More than two where the worker's late report crashed one of them first.
    assert len(rescheduled) >= 2
    assert last == journal.ERROR
    assert journal.outcome(events(place, run.id)) == "killed before it began"
    assert recover() == "no run needed recovery"
    assert client.read_flow_run(run.id).state_id == ended.state_id


def test_run_without_lock_crashes_after_heartbeat_timeout(
    place: Workplace, client: SyncPrefectClient, recover: Recover
) -> None:
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    states = (Running(), Pending(), Cancelling(), Scheduled(scheduled_time=tomorrow))
    runs = [_run_elsewhere(client, state) for state in states]
    time.sleep(1.1)

    recover(**{"recovery.heartbeat_seconds": 60, "recovery.pending_minutes": 1})
    early = [type_of(client.read_flow_run(run.id)) for run in runs]
    recover(**{"recovery.heartbeat_seconds": 1, "recovery.pending_minutes": 1 / 60})
    late = [type_of(client.read_flow_run(run.id)) for run in runs]

    assert early == [state.type for state in states]
    assert late == [StateType.CRASHED, StateType.CRASHED, StateType.CANCELLED, StateType.SCHEDULED]


def test_run_with_recent_heartbeat_is_not_recovered(
    place: Workplace, client: SyncPrefectClient, recover: Recover, prefect_server: Server
) -> None:
    run = _run_elsewhere(client, Running())
    beat = f"prefect.flow-run.{run.id}"
    time.sleep(1.1)
    emit_event(event="prefect.flow-run.heartbeat", resource={"prefect.resource.id": beat})
    until(
        lambda: [
            event for event in Api(prefect_server).all("events") if event["resource"]["prefect.resource.id"] == beat
        ]
    )

    recover(**{"recovery.heartbeat_seconds": 20})
    assert type_of(client.read_flow_run(run.id)) == StateType.RUNNING
    client.delete_flow_run(run.id)


def test_stale_lock_of_earlier_attempt_is_ignored(
    place: Workplace, client: SyncPrefectClient, recover: Recover
) -> None:
    run = _run_elsewhere(client, Running())
    lock = place.var / "runs" / f"{run.id}.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    holder = {"trace_id": "a" * 32, "pid": 1, "host": os.uname().nodename, "boot": run_lock.Holder().boot}
    lock.write_text(json.dumps(holder | {"attempt": "an earlier one"}))
    recover()
    early = client.read_flow_run(run.id)
    lock.write_text(json.dumps(holder | {"attempt": str(run.state_id)}))
    recover()

    assert type_of(early) == StateType.RUNNING
    assert type_of(client.read_flow_run(run.id)) == StateType.CRASHED
    assert not lock.exists()


def test_duplicate_process_of_run_exits_without_changes(
    place: Workplace, training: UUID, client: SyncPrefectClient
) -> None:
    run = client.create_flow_run_from_deployment(training)
    held = run_lock.Holder("b" * 32, "first")
    run_lock.acquire(place.store, str(run.id), held)
    client.set_flow_run_state(run.id, Pending(), force=True)
    second = place.start(["-m", "prefect.engine", str(run.id)], PREFECT__FLOW_RUN_ID=str(run.id))

    assert second.code == 0, second.output
    assert f"process {os.getpid()} on {held.host} already executes this run" in second.output
    assert type_of(client.read_flow_run(run.id)) == StateType.RUNNING
    assert run_lock.status(place.store, str(run.id)) == run_lock.LockStatus(is_held=True, holder=held)
    assert second.events == []
    client.delete_flow_run(run.id)


def test_every_deployment_entrypoint_is_loadable() -> None:
    from prefect.flows import load_flow_from_entrypoint

    listed = yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]

    names = [
        load_flow_from_entrypoint(f"{ROOT}/{one['entrypoint']}", use_placeholder_flow=False).name for one in listed
    ]
    assert names == [one["name"] for one in listed]


def _place(folder: Path) -> Workplace:
    place = Workplace(folder)
    for seed in (1, 2):
        sample_tables.write(place.folder / f"rows-{seed}.csv", sample_tables.rows(seed=seed))
    place.configure(trainer=LONG, source=_source(place))
    return place


def _source(place: Workplace) -> dict[str, str]:
    # A worker's processes run in another folder.
    return {"kind": "csv", "path": str(place.folder / "rows-*.csv")}


def _run_elsewhere(client: SyncPrefectClient, state: State[Any]) -> FlowRun:
    """Return a run of the training flow as the server sees one of another machine."""
    from flows.training import training

    return client.create_flow_run(training, parameters={}, state=state)
