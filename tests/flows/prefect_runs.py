"""What Prefect, the journal and the locks tell of flow runs, while they run and after."""

from __future__ import annotations

import time
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import FlowRun, StateType

from ai_workflow.local.server import Server
from ai_workflow.storage import run_lock
from ai_workflow.telemetry import journal, trace_context
from ai_workflow.telemetry.journal import Event
from tests.flows.prefect_api import Api, until
from tests.flows.workspace import Workplace
from tests.patience import PATIENCE


def in_training(place: Workplace, run_id: str | None = None) -> str:
    """Wait until a run is in the middle of its training, and return its id."""

    def found() -> list[str]:
        held = [path.stem for path in place.files("runs/*.lock") if run_lock.status(place.store, path.stem).is_held]
        runs = [name for name in held if run_id in (None, name) and not name.startswith(run_lock.EXCLUSIVE_PREFIX)]
        return runs if runs and _trainings(place, runs[0]) else []

    return until(found)[0]


def _trainings(place: Workplace, run_id: str) -> bool:
    begun = [event for event in events(place, run_id) if event.stage == "trainer"]
    if not begun:
        return False
    since = datetime.fromisoformat(begun[-1].time).timestamp()
    return any(path.stat().st_mtime > since for path in place.files("checkpoints/*/*/model_step_*.json"))


def watch(place: Workplace, client: SyncPrefectClient, run: FlowRun) -> set[int]:
    """Wait for the end of a run, and return how many processes held its training at a time, but for none."""
    seen: set[int] = set()
    deadline = time.monotonic() + PATIENCE
    while type_of(client.read_flow_run(run.id)) not in (StateType.COMPLETED, StateType.FAILED, StateType.CRASHED):
        assert time.monotonic() < deadline, "it did not end"
        seen |= {held} if (held := trainers(place)) else set()
        time.sleep(0.02)
    return seen


def trainers(place: Workplace) -> int:
    """Return how many processes hold a training of this place just now."""
    return sum(_holders(path) for path in place.files("checkpoints/*/*/.lock"))


def _holders(path: Path) -> int:
    inode = f":{path.stat().st_ino} "
    return sum(inode in line and "->" not in line for line in Path("/proc/locks").read_text().splitlines())


def type_of(run: FlowRun) -> StateType | None:
    return run.state.type if run.state else None


def tasks(client: SyncPrefectClient, run_id: str | UUID, kind: StateType) -> list[str]:
    api = Api(Server(str(client.api_url)))
    asked: dict[str, Any] = {"flow_runs": {"id": {"any_": [str(run_id)]}}}
    return [run["name"] for run in api.all("task_runs", **asked) if run["state_type"] == kind.value]


def events(place: Workplace, run_id: str | UUID) -> list[Event]:
    return place.journal.read(trace_context.trace_id_of_run(str(run_id)))


def recovered(place: Workplace, run_id: str | UUID) -> list[Event]:
    return [event for event in events(place, run_id) if event.stage == journal.RECOVERY]
