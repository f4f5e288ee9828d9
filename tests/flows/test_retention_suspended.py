"""The retention of a deployment has no process while it waits, and carries out the plan that was approved."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.client.schemas.responses import SetStateStatus
from prefect.exceptions import Pause
from prefect.flow_engine import run_flow_async
from prefect.states import AwaitingRetry, Cancelled, Cancelling, Crashed

from ai_workflow.local.server import Server
from ai_workflow.registry import promotion, pruning, publication, retention_plan
from ai_workflow.storage import run_lock
from flows.retention import retention
from tests import prefect_retry
from tests.flows.prefect_api import Api, until
from tests.flows.prefect_worker import Worker, deploy
from tests.flows.test_retention import GOES, STAYS, place, recover
from tests.flows.workspace import Workplace

# Real servers and workers: `make test-all` runs it.
pytestmark = pytest.mark.slow
__all__ = ["place"]
ALL = sorted([*GOES, *STAYS])
MOMENT = 0.00001


@pytest.fixture(autouse=True)
def _nothing_waits(prefect_server: Server) -> Iterator[None]:
    """Other tests of this server take the only paused run for their own."""
    yield
    with get_client(sync_client=True) as client:
        for run in Api(prefect_server).all("flow_runs", flow_runs={"state": {"type": {"any_": ["PAUSED"]}}}):
            client.set_flow_run_state(run["id"], Cancelled())


def _alone(work: Any) -> Any:
    """Await in a thread of its own: the one of a test with a browser has an event loop."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(copy_context().run, asyncio.run, work).result()


class Run:
    """A run of the deployment; each call of `process` is what a worker's process would do."""

    def __init__(self, place: Workplace, **parameters: Any) -> None:
        self.place = place
        with get_client(sync_client=True) as client:
            config = str(place.folder / "pipeline.yaml")
            deployment = deploy(client, "retention", {"config": config, **parameters})
            self.id = client.create_flow_run_from_deployment(deployment).id

    def read(self) -> FlowRun:
        with get_client(sync_client=True) as client:
            return client.read_flow_run(self.id)

    @property
    def state(self) -> State[Any]:
        state = self.read().state
        assert state
        return state

    @property
    def lock(self) -> run_lock.LockStatus:
        return run_lock.status(self.place.store, str(self.id))

    @property
    def plan(self) -> retention_plan.RetentionPlan | None:
        return retention_plan.read(self.place.store, str(self.id))

    def process(self) -> State[Any]:
        """Run the flow until it ends or is suspended, and return its state."""
        run = self.read()
        try:
            state: State[Any] = _alone(run_flow_async(retention, run, run.parameters, return_type="state"))
            return state
        except Pause:
            assert not self.lock.is_held, "a suspended run holds no lock"
            return self.state

    def resume(self, **answer: Any) -> SetStateStatus:
        with get_client(sync_client=True) as client:
            return client.resume_flow_run(self.id, run_input=answer).status

    def set(self, state: State[Any]) -> None:
        with get_client(sync_client=True) as client:
            client.set_flow_run_state(self.id, state)

    def said(self) -> str:
        """Return the message of the result."""
        state = self.process()
        assert state.is_completed(), state
        result: dict[str, Any] = _alone(state.aresult())
        return str(result["message"])


def _suspended(place: Workplace, **parameters: Any) -> Run:
    run = Run(place, **parameters)
    assert run.process().name == "Suspended"
    assert run.plan
    return run


def test_resumed_process_deletes_only_approved_versions(place: Workplace) -> None:
    run = _suspended(place)
    assert not place.files(f"runs/{run.id}.lock")
    publication.publish(place.registry, {"model.txt": b"m" * 5000}, "schema", {"kind": "lightgbm"})

    assert run.resume(approve=True, note="spring cleaning") == SetStateStatus.ACCEPT
    assert run.said() == "Released 9.8K"

    assert place.registry.versions() == [*STAYS, "model_v1.5"], "what became old meanwhile was not approved"
    assert place.registry.history()[-1]["reason"] == "approved in Prefect: spring cleaning"
    assert run.plan is None


@pytest.mark.parametrize(("answer", "note"), [({}, ""), ({"approve": False}, ""), ({"note": "not yet"}, " (not yet)")])
def test_rejection_or_empty_input_keeps_all_versions(place: Workplace, answer: dict[str, Any], note: str) -> None:
    run = _suspended(place)
    assert run.resume(**answer) == SetStateStatus.ACCEPT
    assert run.said() == f"refused: nothing was deleted{note}"
    assert place.registry.versions() == ALL
    assert run.plan is None


def test_version_in_use_since_approval_request_is_kept(place: Workplace) -> None:
    run = _suspended(place)
    pruning.pin(place.registry, "model_v1.1", "audit")
    promotion.promote(place.registry, "model_v1.2", "back to it")
    run.resume(approve=True)
    assert run.said() == "Released 0B"
    assert place.registry.versions() == ALL


def test_invalid_approval_input_keeps_run_suspended(place: Workplace) -> None:
    run = _suspended(place)
    wrong: list[dict[str, Any]] = [{"approve": "perhaps"}, {"approve": True, "versions": 9}, {"note": 5}]
    for answer in wrong:
        assert run.resume(**answer) == SetStateStatus.REJECT
        assert run.state.name == "Suspended"
    assert run.resume(approve=True) == SetStateStatus.ACCEPT
    assert run.said() == "Released 9.8K"


def test_second_approval_decision_is_rejected(place: Workplace) -> None:
    run = _suspended(place)
    assert run.resume(note="no") == SetStateStatus.ACCEPT
    assert run.resume(approve=True) == SetStateStatus.ABORT
    assert run.said() == "refused: nothing was deleted (no)"
    assert run.resume(approve=True) == SetStateStatus.ABORT
    assert place.registry.versions() == ALL


def test_cancelled_approval_does_not_block_next_retention(place: Workplace) -> None:
    run = _suspended(place)
    run.set(Cancelling())
    assert run.state.name == "Cancelled"
    assert run.resume(approve=True) == SetStateStatus.ABORT

    after = _suspended(place)
    assert run.plan is None
    after.resume(approve=True)
    assert after.said() == "Released 9.8K"


def test_retried_run_after_cancellation_requires_new_approval(place: Workplace) -> None:
    run = _suspended(place)
    run.resume(approve=True)
    run.set(Cancelling())
    run.set(AwaitingRetry())
    assert run.process().name == "Suspended"
    assert place.registry.versions() == ALL


def test_concurrent_retention_is_skipped_during_suspension(place: Workplace) -> None:
    run = _suspended(place)
    said = f"another retention waits for an answer: {run.read().name} is Suspended"
    assert Run(place).said() == said
    state = asyncio.run(retention(str(place.folder / "pipeline.yaml"), return_state=True))
    assert asyncio.run(state.aresult()) == {"message": said}, "started by hand"
    run.resume(approve=True)
    # The runs that left the question to it have completed: it is rescheduled all the same.
    run.set(Crashed())
    recover()
    assert run.state.name == "AwaitingRetry"
    assert run.said() == "Released 9.8K"


def test_pipelines_in_same_store_request_approval_separately(place: Workplace) -> None:
    _suspended(place)
    publication.publish(place.registry, {"model.txt": b"m"}, "schema", {"kind": "lightgbm"})
    (place.folder / "other").mkdir()
    other = Workplace(place.folder / "other")
    other.configure(pipeline="other", retention={"versions": 9, "min_age_hours": 0})
    assert Run(other).said() == "nothing to delete"


def test_killed_process_resumes_with_recorded_approval(place: Workplace) -> None:
    run = _suspended(place)
    run.resume(approve=True, note="once")
    run.set(Crashed())
    run.set(AwaitingRetry())
    assert run.said() == "Released 9.8K"
    assert place.registry.history()[-1]["reason"] == "approved in Prefect: once"


def test_process_killed_before_suspension_requests_new_plan_approval(place: Workplace) -> None:
    run = _suspended(place)
    run.set(Crashed())
    run.set(AwaitingRetry())
    publication.publish(place.registry, {"model.txt": b"m" * 5000}, "schema", {"kind": "lightgbm"})
    assert run.process().name == "Suspended"
    run.resume(approve=True)
    assert run.said() == "Released 15K"


def test_recovery_ends_overdue_retention_without_deletion(place: Workplace) -> None:
    waits = _suspended(place)
    recover()
    assert waits.state.name == "Suspended", "its time is not over"
    waits.set(Cancelling())
    late = _suspended(place, wait_hours=MOMENT)
    recover()
    assert (late.state.type, late.state.message) == (
        StateType.COMPLETED, f"no answer within {MOMENT:g} h: nothing was deleted",
    )  # fmt: skip
    assert late.plan is None
    assert late.resume(approve=True) == SetStateStatus.ABORT
    assert place.registry.versions() == ALL


def test_late_approval_deletes_no_versions(place: Workplace) -> None:
    run = _suspended(place, wait_hours=MOMENT)
    run.resume(approve=True)
    assert run.said() == f"no answer within {MOMENT:g} h: nothing was deleted"
    assert place.registry.versions() == ALL


def test_next_retention_ends_overdue_run_and_requests_approval(place: Workplace) -> None:
    overdue = _suspended(place, wait_hours=MOMENT)
    run = _suspended(place)
    assert overdue.state.is_completed()
    assert (overdue.plan, run.plan is None) == (None, False)


def test_approval_with_missing_plan_fails_without_deletion(place: Workplace) -> None:
    run = _suspended(place)
    retention_plan.forget(place.store, str(run.id))
    run.resume(approve=True)
    state = run.process()
    assert state.is_failed()
    assert "the plan that was answered is missing" in str(state.message)
    assert place.registry.versions() == ALL


def test_approval_for_renamed_pipeline_fails_without_deletion(place: Workplace) -> None:
    run = _suspended(place)
    place.configure(pipeline="renamed")
    run.resume(approve=True)
    state = run.process()
    assert state.is_failed()
    assert "models/development/renamed" in str(state.message)
    assert place.registry.versions() == ALL


def test_suspended_run_has_no_process_and_survives_worker_kill(place: Workplace, prefect_server: Server) -> None:
    run = Run(place)
    with Worker.start(place) as worker:
        until(lambda: run.state.name == "Suspended")
        until(lambda: not worker.children())
        assert not place.files(f"runs/{run.id}.lock")
    recover()
    assert run.state.name == "Suspended", "no process is missed"
    assert run.resume(approve=True) == SetStateStatus.ACCEPT
    with Worker.start(place) as worker:
        until(lambda: run.lock.is_held or run.state.is_final())
        worker.kill()
    recover()
    with Worker.start(place):
        until(lambda: run.state.name == "Completed")
    assert place.registry.versions() == STAYS
    assert not list(Path(place.var, "retention").iterdir())
    lines = Api(prefect_server).all("logs", logs={"flow_run_id": {"any_": [str(run.id)]}})
    assert {line["message"] for line in lines if line["level"] > 30} == set()


@pytest.mark.browser
@pytest.mark.parametrize(
    "approve", [pytest.param(True, id="approve"), pytest.param(False, id="refuse", marks=pytest.mark.soak)]
)
def test_approval_decision_in_new_ui_is_applied(
    place: Workplace, page: Page, prefect_server: Server, approve: bool
) -> None:
    run = _suspended(place)
    page.goto(f"{prefect_server.ui_url}/v2/runs/flow-run/{run.id}")
    page.get_by_text("Suspended").first.wait_for()
    page.get_by_role("button", name="Open menu").click()
    page.get_by_role("menuitem", name="Resume").click()
    form = page.get_by_role("dialog")
    form.get_by_text("Delete 2 versions (model_v1.1, model_v1.2) and 0 old files, 9.8K?").wait_for()
    form.get_by_text("model_v1.0, 4.9K: stable").wait_for()
    form.get_by_text("Delete the items of the plan.").wait_for()
    if approve:
        form.get_by_role("switch").click()
    form.locator("textarea").fill("seen in the UI")
    answer = prefect_retry.press(page, "/resume", form.get_by_role("button", name="Resume"))
    assert answer["status"] == "ACCEPT", answer

    assert run.said() == ("Released 9.8K" if approve else "refused: nothing was deleted (seen in the UI)")
    assert place.registry.versions() == (STAYS if approve else ALL)
