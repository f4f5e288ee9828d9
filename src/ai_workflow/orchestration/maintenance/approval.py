"""Approval of a retention plan by a person: the run is suspended, or paused if no worker would resume it.

A suspended run has no process and takes no slot. A worker starts it again from its beginning once it is resumed; the
states of the run then show which plan was answered.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.client.schemas.responses import SetStateStatus
from prefect.exceptions import FlowPauseTimeout
from prefect.flow_runs import apause_flow_run, asuspend_flow_run
from prefect.input import RunInput
from prefect.states import Completed, Running
from pydantic import Field

from ai_workflow.errors import AiWorkflowError

# Default of the parameter `wait_hours`.
WAIT_HOURS = 72.0
MAX_WAIT_HOURS = 8760.0
# Poll interval of a paused run.
POLL_SECONDS = 5
# The state in which Prefect reschedules a suspended run that was resumed.
_RESUMING = "Resuming"


class Approval(RunInput):
    """The form of a plan, filled in by a person."""

    approve: bool = Field(default=False, description="Delete the items of the plan.")
    note: str = Field(default="", description="The reason, for the history.")


@dataclass(frozen=True, slots=True)
class Suspension:
    """The last suspension of a flow run.

    Args:
        key: key of the plan.
        keyset: where Prefect stores the answer.
        since: time of the suspension.
        resumed: time at which the run was resumed; None if it was not.
        ended: types of the final states that followed.
    """

    key: str | None
    keyset: dict[str, str] = field(repr=False)
    since: datetime
    resumed: datetime | None = None
    ended: frozenset[StateType] = frozenset()

    @property
    def is_answered(self) -> bool:
        """Whether the answer applies to this process: the run was not completed or cancelled after it."""
        return self.resumed is not None and not self.ended & {StateType.COMPLETED, StateType.CANCELLED}

    def is_late(self, wait_hours: float) -> bool:
        """Return whether the answer came after the time to wait."""
        return self.resumed is not None and self.resumed - self.since > timedelta(hours=wait_hours)


def is_suspended(run: FlowRun) -> bool:
    """Return whether a run waits for a person and has no process."""
    return bool(run.state and run.state.is_paused() and run.state.state_details.pause_reschedule)


def can_suspend(run: FlowRun) -> bool:
    """Return whether a worker starts a run again once it is resumed."""
    return bool(run.deployment_id and run.work_pool_name) and run.parent_task_run_id is None


def last_suspension(states: Sequence[State[Any]]) -> Suspension | None:
    """Return the last suspension in the history of a run, or None if it never was suspended."""
    history = sorted(states, key=lambda state: state.timestamp)
    positions = [at for at, state in enumerate(history) if state.is_paused() and state.state_details.pause_reschedule]
    if not positions:
        return None
    suspended, later = history[positions[-1]], history[positions[-1] + 1 :]
    details = suspended.state_details
    return Suspension(
        key=details.pause_key,
        keyset=dict(details.run_input_keyset or {}),
        since=suspended.timestamp,
        resumed=next((state.timestamp for state in later if state.name == _RESUMING), None),
        ended=frozenset(state.type for state in later if state.is_final()),
    )


async def suspension(run: FlowRun) -> Suspension | None:
    """Return the last suspension of a run, or None if it never was suspended."""
    async with get_client() as client:
        return last_suspension(await client.read_flow_run_states(run.id))


async def answer(run: FlowRun, suspended: Suspension) -> Approval:
    """Return the answer with which a run was resumed; without input it does not approve."""
    return await Approval.aload(suspended.keyset, flow_run_id=run.id)  # type: ignore[arg-type]


async def suspend(text: str, key: str) -> Approval:
    """End this process until a person answers; it does not return.

    Raises:
        Pause: the run is suspended.
    """
    form = Approval.with_initial_data(description=text)
    return await asuspend_flow_run(wait_for_input=form, key=key)


async def pause(run: FlowRun, text: str, key: str, wait_hours: float) -> Approval | None:
    """Wait for the answer of a person in this process, and return it; None after `wait_hours`."""
    form = Approval.with_initial_data(description=text)
    try:
        return await apause_flow_run(
            wait_for_input=form, timeout=max(1, int(wait_hours * 3600)), poll_interval=POLL_SECONDS, key=key
        )
    except FlowPauseTimeout:
        # Prefect completes no run that was paused and never resumed; a plan without an answer is no failure.
        async with get_client() as client:
            await client.set_flow_run_state(run.id, Running(), force=True)
        return None


def check(wait_hours: float) -> None:
    """Check the parameter `wait_hours`.

    Raises:
        AiWorkflowError: it is negative, longer than a year, or no number.
    """
    if not 0 <= wait_hours <= MAX_WAIT_HOURS:
        raise AiWorkflowError(f"wait_hours is {wait_hours:g}. Give a number from 0 to {MAX_WAIT_HOURS:g}")


def wait_hours_of(run: FlowRun) -> float:
    """Return the hours that a run waits for an answer."""
    try:
        hours = float(run.parameters.get("wait_hours", WAIT_HOURS))
    except (TypeError, ValueError):
        return WAIT_HOURS
    return hours if 0 <= hours <= MAX_WAIT_HOURS else WAIT_HOURS


def is_overdue(run: FlowRun, now: datetime) -> bool:
    """Return whether a run is suspended for longer than it waits for an answer."""
    if run.state is None or not is_suspended(run):
        return False
    return now - run.state.timestamp > timedelta(hours=wait_hours_of(run))


def no_answer(wait_hours: float) -> str:
    """Return the message of a run that was not answered in time."""
    return f"no answer within {wait_hours:g} h: nothing was deleted"


async def end(client: PrefectClient, run: FlowRun) -> str | None:
    """Complete a suspended run that was not answered in time, and return its message; None if Prefect rejected it.

    A timeout of Prefect would fail the run, and alert.
    """
    message = no_answer(wait_hours_of(run))
    completed: State[Any] = Completed(message=message)
    # Not forced: Prefect rejects it if the run has ended meanwhile.
    response = await client.set_flow_run_state(run.id, completed)
    return message if response.status == SetStateStatus.ACCEPT else None
