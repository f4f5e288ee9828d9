"""Lookup of flow runs that need recovery, each with its settings, lock, trace IDs and journal."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypedDict, TypeVar

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
from ai_workflow.evaluation.markdown import escape_active_markup
from ai_workflow.orchestration import owner_label
from ai_workflow.storage import run_lock
from ai_workflow.storage.store import Store
from ai_workflow.telemetry import journal, logs, trace_context

T = TypeVar("T")
PIPELINES = ("training", "scoring")
# Crashed runs of these are rescheduled; the next scheduled retention would be a week later.
RETRIED = (*PIPELINES, "retention")
# Maintenance runs may be killed too: they are marked, and the next scheduled run replaces them.
FLOWS = (*PIPELINES, "evaluation", "promotion", "retention", "recovery", "reaction", "drill")
# Runs that crashed longer ago are not rescheduled.
WINDOW = timedelta(days=1)
_PAGE = 200
log = logs.logger("recovery")


class RunAction(TypedDict):
    """A row in the table of a recovery run."""

    flow: str
    run: str
    trace: str
    done: str


@dataclass(frozen=True)
class RunRecord:
    """A flow run with its state, flow name and settings."""

    run: FlowRun
    state: State[Any]
    flow: str
    settings: Settings

    @property
    def id(self) -> str:
        """The flow run ID as text."""
        return str(self.run.id)

    @property
    def store(self) -> Store:
        """The store of the run."""
        return Store(self.settings.store.root)

    @property
    def age(self) -> float:
        """Seconds since the run entered its state."""
        return (datetime.now(UTC) - self.state.timestamp).total_seconds()

    @property
    def is_paused(self) -> bool:
        """Whether its process waits for a person; a suspended run needs no process."""
        return self.state.type == StateType.PAUSED and not self.state.state_details.pause_reschedule

    def lock(self) -> run_lock.LockStatus:
        """Return the current state of the run's lock."""
        return run_lock.status(self.store, self.id)

    def traces(self) -> list[str]:
        """Return the trace IDs that the run may have used, the most likely one first."""
        holder = self.lock().holder
        trace_ids = [holder.trace_id] if holder and holder.trace_id else []
        if isinstance(header := self.run.parameters.get("traceparent"), str):
            # A run with an invalid header has failed for that reason.
            with suppress(AiWorkflowError):
                trace_ids.append(trace_context.from_traceparent(header))
        return list(dict.fromkeys([*trace_ids, trace_context.trace_id_of_run(self.id)]))


class RunLookup:
    """Runs of an owner on a Prefect server, and the recorded actions of recovery.

    Args:
        client: client of the server.
        settings: the settings of the recovery.
        environment: the environment of runs that name none.
        own_id: the flow run of the recovery.
        label: the label of the owner of its deployment; None for a recovery by hand.
    """

    def __init__(
        self, client: PrefectClient, settings: Settings, environment: str | None, own_id: str, label: str | None = None
    ) -> None:
        self.client, self.options = client, settings.recovery
        self.actions: list[RunAction] = []
        self._settings, self._environment, self._own_id, self._label = settings, environment, own_id, label

    def exclusive(self) -> AbstractContextManager[bool]:
        """Exclude other recoveries of this owner on this machine; the context is False if another one is at work."""
        name = "-".join(filter(None, ("recovery", self._settings.environment, self._label)))
        return run_lock.exclusive(Store(self._settings.store.root), name)

    async def unfinished(self) -> list[RunRecord]:
        """Return the runs that have, or should have, a process."""
        records = await self._in(StateType.RUNNING, StateType.PENDING, StateType.CANCELLING, StateType.PAUSED)
        return [record for record in records if record.is_paused or record.state.type != StateType.PAUSED]

    async def suspended(self) -> list[RunRecord]:
        """Return the retention runs that wait for a person and have no process."""
        records = await self._in(StateType.PAUSED)
        return [record for record in records if record.flow == "retention" and not record.is_paused]

    async def crashed(self) -> list[RunRecord]:
        """Return the runs that crashed within `WINDOW`."""
        recent = FlowRunFilterEndTime(after_=datetime.now(UTC) - WINDOW)
        return await self._in(StateType.CRASHED, end_time=recent)

    def is_own(self, run: FlowRun) -> bool:
        """Return whether a run belongs to the owner of this recovery.

        A run of a deployment belongs to the owner of the deployment. One that was started by hand, or that a recovery
        by hand finds, belongs to its environment.
        """
        if self._label is not None and run.deployment_id is not None:
            return owner_label.of(run.tags) == self._label
        return owner_label.environment_of(run.tags, run.parameters) in (None, self._settings.environment)

    async def is_unchanged(self, record: RunRecord) -> bool:
        """Return whether the run is still in the recorded state."""
        state = (await self.client.read_flow_run(record.run.id)).state
        return state is not None and state.id == record.state.id

    def note(self, record: RunRecord, status: str, message: str) -> None:
        """Record an action in the journal of the run, the log, and the table of this recovery.

        Raises:
            StoreError: the journal cannot be written.
        """
        trace_id = record.traces()[0]
        event = journal.Event(
            trace_id, record.settings.pipeline, record.flow, journal.RECOVERY, status, message, flow_run_id=record.id
        )
        journal.Journal(record.store).write(event)
        with trace_context.bound(trace_id=trace_id, stage=journal.RECOVERY):
            write = log.error if status == journal.ERROR else log.info
            write("%s run %s: %s", record.flow, record.run.name, message)
        self.actions.append(
            RunAction(
                flow=record.flow,
                run=escape_active_markup(record.run.name),
                trace=trace_context.short(trace_id),
                done=escape_active_markup(message),
            )
        )

    async def for_each(self, records: list[RunRecord], action: Callable[[RunRecord], Awaitable[None]]) -> None:
        """Apply an action to each run; an error of one is logged, and the others follow."""
        for record in records:
            try:
                await action(record)
            except AiWorkflowError as error:
                log.error("%s run %s cannot be recovered: %s", record.flow, record.run.name, error)

    async def _in(self, *types: StateType, **filters: Any) -> list[RunRecord]:
        state = FlowRunFilterState(type=FlowRunFilterStateType(any_=list(types)))
        flows = FlowFilter(name=FlowFilterName(any_=list(FLOWS)))
        names = {flow.id: flow.name for flow in await self.client.read_flows(flow_filter=flows)}
        runs = await pages(
            lambda offset: self.client.read_flow_runs(
                flow_filter=flows, flow_run_filter=FlowRunFilter(state=state, **filters), limit=_PAGE, offset=offset
            )
        )
        return [
            RunRecord(run, run.state, names[run.flow_id], await asyncio.to_thread(self._settings_of, run))
            for run in runs
            if run.state and run.flow_id in names and str(run.id) != self._own_id and self.is_own(run)
        ]

    def _settings_of(self, run: FlowRun) -> Settings:
        """Return the settings of a run, or those of this recovery if they cannot be read."""
        return settings_of(run, self._environment) or self._settings


def settings_of(run: FlowRun, environment: str | None = None) -> Settings | None:
    """Return the settings that a run was started with, or None if they cannot be read.

    Args:
        run: the run.
        environment: the environment of a run that names none.
    """
    parameters = run.parameters
    try:
        name = parameters.get("environment") or environment
        return loader.load(parameters.get("config"), environment=name, overrides=parameters.get("overrides")).settings
    except (AiWorkflowError, TypeError, ValueError, AttributeError):
        return None


async def pages(read: Callable[[int], Awaitable[list[T]]]) -> list[T]:
    """Return all results of a paged query; `read` takes the offset of a page."""
    results: list[T] = []
    while page := await read(len(results)):
        results += page
        if len(page) < _PAGE:
            break
    return results
