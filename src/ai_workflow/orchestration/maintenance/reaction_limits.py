"""The daily limit of reactions: a breach is handled by an existing run, or by a new run in a slot of the day.

A slot is a run with the idempotency key `reaction/<action>/<environment>/<pipeline>/<day>/<slot>`. The server creates
the run of a key once, also after a restart of the server or the worker. A slot belongs to one model version: further
breaches of the same version take no other slot.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterId,
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import TERMINAL_STATES, FlowRun, StateType
from prefect.client.schemas.responses import DeploymentResponse
from prefect.exceptions import ObjectNotFound

from ai_workflow.config.settings import Settings
from ai_workflow.errors import AiWorkflowError
from ai_workflow.orchestration import owner_label
from ai_workflow.orchestration.recovery.run_lookup import pages, settings_of

Action = Literal["training", "promotion"]
Outcome = Literal["started", "handled", "withheld"]
TAG = "reaction"
# A rollback that failed is started again for the next breach of its version.
MAX_ROLLBACK_ATTEMPTS = 3
_PAGE = 200


@dataclass(frozen=True, slots=True)
class Start:
    """The run to start for a breach.

    Args:
        action: a training, or the promotion flow for a rollback.
        deployment: its deployment, as flow/deployment.
        settings: the configuration of the pipeline.
        event_id: the event of the breach.
        model_version: the version that the breach names; may be empty.
        parameters: parameters of the run.
        limit: slots per day.
    """

    action: Action
    deployment: str
    settings: Settings
    event_id: str
    model_version: str
    parameters: Mapping[str, Any]
    limit: int

    @property
    def event_tag(self) -> str:
        """The tag of the run that this event started."""
        return f"breach:{self.event_id}"

    @property
    def version_tag(self) -> str:
        """The tag of the runs for a version."""
        return f"model_version:{self.model_version}"


@dataclass(frozen=True, slots=True)
class Result:
    """The run that handles a breach, and its slot (0: none). `reason` explains a withheld start."""

    outcome: Outcome
    run: FlowRun | None = None
    slot: int = 0
    reason: str = ""


async def take(start: Start, is_needed: Callable[[], bool]) -> Result:
    """Return the run that handles a breach: one that waits or runs already, else one in a slot of today.

    Args:
        start: the run to start.
        is_needed: returns whether the version still needs it.

    Raises:
        AiWorkflowError: there is no such deployment.
    """
    async with get_client() as client:
        try:
            deployment = await client.read_deployment_by_name(start.deployment)
        except ObjectNotFound as error:
            raise AiWorkflowError(
                f"deployment {start.deployment} does not exist. Run `ai-workflow deploy`, or name another one"
            ) from error
        slots = _Slots(client, deployment, start, is_needed, datetime.now(UTC).date().isoformat())
        for run in await _active(client, deployment):
            if not slots.has(run) and await asyncio.to_thread(_handles, run, start):
                return Result("handled", run)
        return await slots.take()


@dataclass(frozen=True, slots=True)
class _Slots:
    """The slots of a day."""

    client: PrefectClient
    deployment: DeploymentResponse
    start: Start
    is_needed: Callable[[], bool]
    day: str

    @property
    def _prefix(self) -> str:
        settings = self.start.settings
        # Other projects on the server may have the same environment and pipeline.
        label = owner_label.of(self.deployment.tags)
        owner = f"{label}/{settings.environment}" if label else settings.environment
        return f"reaction/{self.start.action}/{owner}/{settings.pipeline}/{self.day}/"

    def has(self, run: FlowRun) -> bool:
        """Return whether a run is in one of the slots."""
        return (run.idempotency_key or "").startswith(self._prefix)

    async def take(self) -> Result:
        """Return the run in the first slot that is free or belongs to the version."""
        start = self.start
        for slot in range(1, start.limit + 1):
            key = f"{self._prefix}{slot}"
            run = await self._run(key)
            if start.event_tag in run.tags:
                return Result("started", run, slot)
            is_own = start.version_tag in run.tags
            if _is_active(run) and (is_own or start.action == "training"):
                return Result("handled", run)
            if not is_own:
                continue
            if start.action == "promotion":
                return await self._retry(key, run, slot)
            if run.state and run.state.is_completed():
                return Result("withheld", run, reason=f"run {run.name} of today was for the same version")
        return Result(
            "withheld", reason=f"{start.limit} a day are allowed (reactions.{start.action}_per_day), and were made"
        )

    async def _retry(self, key: str, run: FlowRun, slot: int) -> Result:
        """Return another attempt in the slot of a version whose last run has ended."""
        for attempt in range(2, MAX_ROLLBACK_ATTEMPTS + 1):
            # The last run may have rolled back since the breach was read.
            if not await asyncio.to_thread(self.is_needed):
                return Result("handled", run)
            run = await self._run(f"{key}/{attempt}")
            if self.start.event_tag in run.tags:
                return Result("started", run, slot)
            if _is_active(run):
                return Result("handled", run)
        if not await asyncio.to_thread(self.is_needed):
            return Result("handled", run)
        reason = f"{MAX_ROLLBACK_ATTEMPTS} runs of today have not rolled it back, the last is {run.name}"
        return Result("withheld", run, reason=f"{reason}. Read its log, and run `ai-workflow models rollback`")

    async def _run(self, key: str) -> FlowRun:
        """Return the run of a key, which the server creates if there is none."""
        return await self.client.create_flow_run_from_deployment(
            self.deployment.id,
            parameters=dict(self.start.parameters),
            idempotency_key=key,
            tags=[TAG, self.start.event_tag, self.start.version_tag],
        )


async def _active(client: PrefectClient, deployment: DeploymentResponse) -> list[FlowRun]:
    """Return the runs of a deployment that wait or run, also those of earlier days and those started by hand."""
    deployment_filter = DeploymentFilter(id=DeploymentFilterId(any_=[deployment.id]))
    states = [state for state in StateType if state not in TERMINAL_STATES]
    active = FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=states)))
    return await pages(
        lambda offset: client.read_flow_runs(
            deployment_filter=deployment_filter, flow_run_filter=active, limit=_PAGE, offset=offset
        )
    )


def _is_active(run: FlowRun) -> bool:
    return run.state is None or not run.state.is_final()


def _handles(run: FlowRun, start: Start) -> bool:
    """Return whether a run that waits or runs is the action that a breach needs, for the same registry."""
    parameters = run.parameters
    if start.action == "training":
        is_same_action = TAG in run.tags
    else:
        is_same_action = bool(parameters.get("breach")) and parameters.get("model_version") == start.model_version
    settings = settings_of(run) if is_same_action else None
    return settings is not None and _registry(settings) == _registry(start.settings)


def _registry(settings: Settings) -> tuple[str, str]:
    return str(settings.store.root), settings.models
