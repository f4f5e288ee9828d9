"""Flow runs as recovery sees them: what Prefect says of a run, with its own settings, lock, trace and journal."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import (
    FlowFilter,
    FlowFilterName,
    FlowRunFilter,
    FlowRunFilterEndTime,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, State, StateType

from ai_workflow.config import loader
from ai_workflow.config.settings import Settings
from ai_workflow.errors import AiWorkflowError
from ai_workflow.evaluation.markdown import inert
from ai_workflow.storage import run_lock
from ai_workflow.storage.store import Store
from ai_workflow.telemetry import journal, logs, trace_context

T = TypeVar("T")
PIPELINES = ("training", "scoring")
# Crashed runs of these are rescheduled; the next scheduled retention would be a week later.
RETRIED = (*PIPELINES, "retention")
# Those that look after runs and versions may have been killed too: such a run is marked, and another one comes in time.
FLOWS = (*PIPELINES, "evaluation", "promotion", "retention", "recovery", "reaction", "drill")
# What crashed longer ago is for a person to decide on.
WINDOW = timedelta(days=1)
_PAGE = 200
log = logs.logger("recovery")


@dataclass(frozen=True)
class Found:
    """One flow run."""

    run: FlowRun
    state: State[Any]
    flow: str
    settings: Settings

    @property
    def id(self) -> str:
        """The flow run id as text."""
        return str(self.run.id)

    @property
    def store(self) -> Store:
        """The store of the run itself."""
        return Store(self.settings.store.root)

    @property
    def age(self) -> float:
        """Seconds since it entered its state."""
        return (datetime.now(UTC) - self.state.timestamp).total_seconds()

    @property
    def is_paused(self) -> bool:
        """Whether its process waits for a person; a suspended run has none, and none is missed."""
        return self.state.type == StateType.PAUSED and not self.state.state_details.pause_reschedule

    def lock(self) -> run_lock.LockStatus:
        """Return the run's lock as it is now."""
        return run_lock.status(self.store, self.id)

    def traces(self) -> list[str]:
        """Return the trace ids that the run may have written under, the most likely one first."""
        holder = self.lock().holder
        found = [holder.trace_id] if holder and holder.trace_id else []
        if isinstance(header := self.run.parameters.get("traceparent"), str):
            # A bad one is what the run failed of.
            with suppress(AiWorkflowError):
                found.append(trace_context.from_traceparent(header))
        return list(dict.fromkeys([*found, trace_context.trace_id_of_run(self.id)]))


class FoundRuns:
    """Finds runs on a Prefect server, and notes what was done about them."""

    def __init__(self, client: PrefectClient, settings: Settings, environment: str | None, own_id: str) -> None:
        self.client, self.options = client, settings.recovery
        self.done: list[dict[str, Any]] = []
        self._settings, self._environment, self._own_id = settings, environment, own_id

    def alone(self) -> AbstractContextManager[bool]:
        """Keep other recoveries of this machine out."""
        return run_lock.exclusive(Store(self._settings.store.root), "recovery")

    async def unfinished(self) -> list[Found]:
        """Return the runs that have, or should have, a process."""
        found = await self._in(StateType.RUNNING, StateType.PENDING, StateType.CANCELLING, StateType.PAUSED)
        return [one for one in found if one.is_paused or one.state.type != StateType.PAUSED]

    async def suspended(self) -> list[Found]:
        """Return the retention runs that wait for a person without a process."""
        found = await self._in(StateType.PAUSED)
        return [one for one in found if one.flow == "retention" and not one.is_paused]

    async def crashed(self) -> list[Found]:
        """Return the runs that crashed lately."""
        lately = FlowRunFilterEndTime(after_=datetime.now(UTC) - WINDOW)
        return await self._in(StateType.CRASHED, end_time=lately)

    async def unchanged(self, found: Found) -> bool:
        """Say whether the run is still in the state in which it was found."""
        state = (await self.client.read_flow_run(found.run.id)).state
        return state is not None and state.id == found.state.id

    def note(self, found: Found, status: str, message: str) -> None:
        """Write what was done into the journal of the run, the log, and the table of this recovery.

        Raises:
            StoreError: the journal cannot be written.
        """
        trace_id = found.traces()[0]
        event = journal.Event(
            trace_id, found.settings.pipeline, found.flow, journal.RECOVERY, status, message, flow_run_id=found.id
        )
        journal.Journal(found.store).write(event)
        with trace_context.bound(trace_id=trace_id, stage=journal.RECOVERY):
            say = log.error if status == journal.ERROR else log.info
            say("%s run %s: %s", found.flow, found.run.name, message)
        row = {
            "flow": found.flow,
            "run": inert(found.run.name),
            "trace": trace_context.short(trace_id),
            "done": inert(message),
        }
        self.done.append(row)

    async def each(self, found: list[Found], do: Callable[[Found], Awaitable[None]]) -> None:
        """Do something about each run; where that fails for one, the others are still seen to."""
        for one in found:
            try:
                await do(one)
            except AiWorkflowError as error:
                log.error("%s run %s cannot be recovered: %s", one.flow, one.run.name, error)

    async def _in(self, *types: StateType, **filters: Any) -> list[Found]:
        state = FlowRunFilterState(type=FlowRunFilterStateType(any_=list(types)))
        ours = FlowFilter(name=FlowFilterName(any_=list(FLOWS)))
        names = {flow.id: flow.name for flow in await self.client.read_flows(flow_filter=ours)}
        found = await pages(
            lambda offset: self.client.read_flow_runs(
                flow_filter=ours, flow_run_filter=FlowRunFilter(state=state, **filters), limit=_PAGE, offset=offset
            )
        )
        return [
            Found(run, run.state, names[run.flow_id], await asyncio.to_thread(self._settings_of, run))
            for run in found
            if run.state and run.flow_id in names and str(run.id) != self._own_id
        ]

    def _settings_of(self, run: FlowRun) -> Settings:
        """Return the settings of a run; those of this recovery where they cannot be read."""
        return settings_of(run, self._environment) or self._settings


def settings_of(run: FlowRun, environment: str | None = None) -> Settings | None:
    """Return the settings that a run was started with, or None if they cannot be read.

    Args:
        run: the run.
        environment: the environment of a run that names none.
    """
    given = run.parameters
    try:
        chosen = given.get("environment") or environment
        return loader.load(given.get("config"), environment=chosen, overrides=given.get("overrides")).settings
    except (AiWorkflowError, TypeError, ValueError, AttributeError):
        return None


async def pages(read: Callable[[int], Awaitable[list[T]]]) -> list[T]:
    """Return all that a paged question answers; `read` takes the offset of a page."""
    found: list[T] = []
    while page := await read(len(found)):
        found += page
        if len(page) < _PAGE:
            break
    return found
