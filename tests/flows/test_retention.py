"""Old versions go only after a person has said yes, in the Prefect UI or through its API; else all stays."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from playwright.sync_api import Page
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import StateType
from prefect.flow_runs import aresume_flow_run

from ai_workflow.local.server import Server
from ai_workflow.orchestration import run_logs
from ai_workflow.orchestration.maintenance import approval
from ai_workflow.registry import pruning, publication
from flows.recovery import recovery
from flows.retention import retention
from tests import prefect_retry
from tests.flows.prefect_api import Api, until
from tests.flows.prefect_worker import Worker
from tests.flows.workspace import Workplace

pytestmark = pytest.mark.integration

OLD = {"retention": {"versions": 2, "min_age_hours": 0}}
KEY = "small-credit-retention"
GOES, STAYS = ["model_v1.1", "model_v1.2"], ["model_v1.0", "model_v1.3", "model_v1.4"]


@pytest.fixture
def place(prefect_server: Server, tmp_path: Path) -> Iterator[Workplace]:
    """Five versions, the first of them stable; two are to go."""
    place = Workplace(tmp_path)
    place.configure(**OLD)
    for _ in range(5):
        publication.publish(place.registry, {"model.txt": b"m" * 5000}, "schema", {"kind": "lightgbm"})
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIW_STORE", str(place.var))
        # The lines of this process belong to pytest.
        patch.setattr(run_logs, "set_up", lambda _: None)
        patch.setattr(approval, "POLL_SECONDS", 0.2)
        yield place


def _asked(place: Workplace, answer: dict[str, Any] | None, meanwhile: Any = None, **parameters: Any) -> dict[str, Any]:
    """Run the flow, answer when it asks, and return what it says in the end."""

    async def both() -> dict[str, Any]:
        running = asyncio.create_task(retention(str(place.folder / "pipeline.yaml"), **parameters, return_state=True))
        if answer is not None:
            run_id = await _paused()
            if meanwhile:
                await asyncio.to_thread(meanwhile)
            await aresume_flow_run(run_id, run_input=answer)
        state = await running
        assert state.is_completed(), state
        found: dict[str, Any] = await state.aresult()
        return found

    return asyncio.run(both())


async def _paused() -> Any:
    async with get_client() as client:
        for _ in range(300):
            runs = [run for run in await client.read_flow_runs() if run.state and run.state.type == StateType.PAUSED]
            if runs:
                return runs[0].id
            await asyncio.sleep(0.1)
    raise AssertionError("it never asked")


def test_approved_versions_are_deleted_and_plan_is_shown(place: Workplace, prefect_server: Server) -> None:
    said = _asked(place, {"approve": True, "note": "spring cleaning"})
    assert (said["message"], said["deleted"]) == ("Released 9.8K", GOES)
    assert place.registry.versions() == STAYS
    assert place.registry.history()[-1]["reason"] == "approved in Prefect: spring cleaning"
    tables = [
        found["data"] for found in Api(prefect_server).all("artifacts") if found["key"] == "small-credit-retention"
    ]
    assert any("model_v1.1" in table and "not in use" in table and "stable" in table for table in tables)


def test_rejected_deletion_keeps_all_versions(place: Workplace) -> None:
    assert _asked(place, {"note": "not yet"})["message"] == "refused: nothing was deleted (not yet)"
    assert place.registry.versions() == sorted([*GOES, *STAYS])


def test_version_pinned_during_approval_is_kept(place: Workplace) -> None:
    said = _asked(place, {"approve": True}, lambda: pruning.pin(place.registry, "model_v1.1", "audit"))
    assert said["deleted"] == ["model_v1.2"]
    assert "model_v1.1" in place.registry.versions()


def test_approval_timeout_keeps_all_versions(place: Workplace) -> None:
    said = _asked(place, None, wait_hours=0.0003)
    assert said["message"] == "no answer within 0.0003 h: nothing was deleted"
    assert len(place.registry.versions()) == 5


def test_empty_retention_plan_needs_no_approval(place: Workplace) -> None:
    assert _asked(place, None, overrides={"retention.versions": 9})["message"] == "nothing to delete"


def test_concurrent_retention_is_skipped_during_approval(place: Workplace) -> None:
    said: list[dict[str, Any]] = []
    first = _asked(place, {"note": "no"}, lambda: said.append(_asked(place, None)))
    assert said == [{"message": "another retention waits for an answer"}]
    assert first["message"] == "refused: nothing was deleted (no)"


@pytest.mark.slow
def test_killed_manual_retention_is_marked_crashed(place: Workplace, prefect_server: Server) -> None:
    running = Worker.of(place, "-m", "ai_workflow", "run", "retention", "--pipeline", "pipeline.yaml")
    paused = {"flow_runs": {"state": {"type": {"any_": ["PAUSED"]}}}}
    [run] = until(lambda: list(Api(prefect_server).all("flow_runs", **paused)))
    assert run["state"]["name"] == "Paused"
    recover()
    with get_client(sync_client=True) as client:
        assert client.read_flow_run(run["id"]).state_id == UUID(run["state"]["id"]), "it waits, and is left alone"
        running.kill()
        recover()
        state = client.read_flow_run(run["id"]).state
    assert state
    assert (state.name, state.message) == ("Crashed", f"process {running.pid} is gone")
    assert len(place.registry.versions()) == 5


def recover() -> None:
    """Run the recovery flow in this process."""
    assert asyncio.run(recovery(overrides={"recovery.settle_seconds": 0}, return_state=True)).is_completed()


@pytest.mark.browser
@pytest.mark.parametrize(
    "approve",
    [
        pytest.param(True, id="approve", marks=pytest.mark.slow),
        pytest.param(False, id="refuse", marks=pytest.mark.soak),
    ],
)
def test_approval_decision_in_ui_is_applied(
    place: Workplace, page: Page, prefect_server: Server, approve: bool
) -> None:
    running = Worker.of(place, "-m", "ai_workflow", "run", "retention", "--pipeline", "pipeline.yaml")
    paused = {"flow_runs": {"state": {"type": {"any_": ["PAUSED"]}}}}
    [run] = until(lambda: list(Api(prefect_server).all("flow_runs", **paused)))
    page.goto(f"{prefect_server.ui_url}/runs/flow-run/{run['id']}")
    page.get_by_role("button", name="Resume").first.click()
    form = page.locator(".p-modal__card")
    form.get_by_text("Delete 2 versions (model_v1.1, model_v1.2) and 0 old files, 9.8K?").wait_for()
    form.get_by_text("model_v1.0, 4.9K: stable").wait_for()
    if approve:
        form.get_by_role("switch").click()
    form.locator("textarea").fill("seen in the UI")
    answer = prefect_retry.press(page, "/resume", form.get_by_role("button", name="Submit"))
    assert answer["status"] == "ACCEPT", answer

    assert running.wait() == 0, running.output()
    said = "Released 9.8K" if approve else "refused: nothing was deleted (seen in the UI)"
    assert said in running.output()
    assert place.registry.versions() == (STAYS if approve else sorted([*GOES, *STAYS]))
    if approve:
        assert place.registry.history()[-1]["reason"] == "approved in Prefect: seen in the UI"
