"""A retention run: the plan, the answer of a person to it, and the deletion."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from prefect.artifacts import acreate_table_artifact
from prefect.client.schemas.objects import FlowRun
from prefect.exceptions import Pause

from ai_workflow.config.settings import Settings
from ai_workflow.errors import AiWorkflowError
from ai_workflow.evaluation.markdown import escape_active_markup, escaped
from ai_workflow.orchestration.flow_result import FlowResult
from ai_workflow.orchestration.maintenance import approval, pending_approvals
from ai_workflow.orchestration.maintenance.approval import Approval
from ai_workflow.orchestration.recovery import run_ownership
from ai_workflow.registry import expired_files, pruning, retention_plan
from ai_workflow.registry.expired_files import ExpiredFiles
from ai_workflow.registry.registry import Registry
from ai_workflow.registry.retention_plan import RetentionPlan
from ai_workflow.registry.retention_policy import RetentionDecision, size
from ai_workflow.storage import run_lock
from ai_workflow.storage.store import Store
from ai_workflow.telemetry import logs, trace_context

log = logs.logger("retention")


@dataclass(frozen=True, slots=True)
class RetentionRun:
    """The retention run of this process."""

    settings: Settings
    store: Store
    run: FlowRun
    wait_hours: float

    @classmethod
    @contextlib.asynccontextmanager
    async def claimed(cls, settings: Settings, wait_hours: float) -> AsyncIterator[RetentionRun]:
        """Hold the lock of the flow run within the context, and remove its plan once it is over.

        Recovery finds a paused run without a process by the lock, and reschedules it.

        Raises:
            AiWorkflowError: `wait_hours` is out of range.
        """
        approval.check(wait_hours)
        store, run = Store(settings.store.root), run_ownership.current()
        await run_ownership.claim(store, trace_context.trace_id_of_run(str(run.id)), is_maintenance=True)
        try:
            yield cls(settings, store, run, wait_hours)
        except Pause:
            run_ownership.release(store)
            raise
        except AiWorkflowError:
            run_ownership.remove_at_exit(store)
            raise
        retention_plan.forget(store, str(run.id))
        run_ownership.remove_at_exit(store)

    async def resume(self) -> FlowResult | None:
        """Carry out the answer with which this run was resumed; None if it was not suspended, or not answered.

        Raises:
            AiWorkflowError: the plan that the answer is about is not in the store, or is about other models.
        """
        suspended = await approval.suspension(self.run)
        if suspended is None or not suspended.is_answered:
            return None
        plan = await asyncio.to_thread(retention_plan.read, self.store, str(self.run.id))
        if plan is None and not suspended.ended:
            path = self.store.url(f"{retention_plan.FOLDER}/{self.run.id}.json")
            raise AiWorkflowError(f"the plan that was answered is missing: {path}. Run retention again")
        if plan is None or plan.key != suspended.key:
            return None
        if plan.models != self.settings.models:
            raise AiWorkflowError(
                f"the plan that was answered is about {plan.models}, and the configuration now about "
                f"{self.settings.models}: nothing was deleted. Run retention again"
            )
        if suspended.is_late(self.wait_hours):
            return _logged(approval.no_answer(self.wait_hours))
        return await self._carry_out(plan, await approval.answer(self.run, suspended))

    async def propose(self) -> FlowResult:
        """Show a new plan, unless another retention of these models still waits for its answer."""
        models = self.settings.models
        with run_lock.exclusive(self.store, f"retention-{models.replace('/', '-')}") as is_exclusive:
            if not is_exclusive:
                return _logged("another retention waits for an answer")
            if other := await pending_approvals.other(self.store, models, str(self.run.id)):
                state = other.state.name if other.state else "unknown"
                return _logged(f"another retention waits for an answer: {other.name} is {state}")
            plan, description = await self._plan()
            if not plan.versions and not plan.expired:
                return _logged("nothing to delete")
            return await self._wait_for_approval(plan, description)

    async def _plan(self) -> tuple[RetentionPlan, str]:
        """Make a plan, show it as an artifact, and return it with the description of the form."""
        settings, now = self.settings, datetime.now(UTC)
        registry = Registry(self.store, settings.models)
        decisions = await asyncio.to_thread(pruning.plan, registry, settings.retention, verify_heartbeats=True)
        files = await asyncio.to_thread(expired_files.find, self.store, settings.retention, now)
        await acreate_table_artifact(
            [*map(_version_row, decisions), *_file_rows(files, settings)],
            key=f"{settings.pipeline.replace('_', '-')}-retention",
            description=f"Retention of {settings.pipeline} in {settings.environment}: what is kept, and why",
        )
        versions = [decision for decision in decisions if not decision.is_kept]
        # Prefect accepts no pause key twice.
        plan = RetentionPlan(settings.models, str(uuid4()), now + timedelta(hours=self.wait_hours), versions, files)
        return plan, _description(plan, decisions)

    async def _wait_for_approval(self, plan: RetentionPlan, description: str) -> FlowResult:
        """Wait for the answer and carry it out; a run that can be suspended ends here."""
        until = f"{plan.until:%Y-%m-%d %H:%M} UTC"
        if approval.can_suspend(self.run):
            await asyncio.to_thread(retention_plan.write, self.store, str(self.run.id), plan)
            log.info("waiting for a person until %s: %s", until, plan.question)
            return await self._carry_out(plan, await approval.suspend(description, plan.key))
        log.info("waiting for a person: %s", plan.question)
        answer = await approval.pause(self.run, description, plan.key, self.wait_hours)
        return _logged(approval.no_answer(self.wait_hours)) if answer is None else await self._carry_out(plan, answer)

    async def _carry_out(self, plan: RetentionPlan, answer: Approval) -> FlowResult:
        if not answer.approve:
            return _logged(f"refused: nothing was deleted{f' ({answer.note})' if answer.note else ''}")
        registry = Registry(self.store, self.settings.models)
        reason = f"approved in Prefect{f': {answer.note}' if answer.note else ''}"
        released = await asyncio.to_thread(retention_plan.carry_out, plan, registry, self.settings.retention, reason)
        values = {"deleted": list(released.versions), "bytes": released.bytes}
        return _logged(f"Released {size(released.bytes)}", values)


def _logged(message: str, values: dict[str, Any] | None = None) -> FlowResult:
    log.info("%s", message)
    return FlowResult(message, values or {})


def _description(plan: RetentionPlan, decisions: Sequence[RetentionDecision]) -> str:
    """Return the description of the form that a person fills in."""
    lines = [
        f"- **{decision.name}**, {size(decision.bytes)}: {escaped(', '.join(decision.reasons) or 'delete')}"
        for decision in decisions
    ]
    until = f"Answer until {plan.until:%Y-%m-%d %H:%M} UTC; without an answer nothing is deleted."
    return "\n".join([f"{plan.question} The plan is among the artifacts of this run. {until}", "", *lines])


def _version_row(decision: RetentionDecision) -> dict[str, str]:
    return {
        "what": decision.name,
        "size": size(decision.bytes),
        "since": decision.published.isoformat(timespec="minutes"),
        "plan": "keep" if decision.is_kept else "delete",
        "because": escape_active_markup(", ".join(decision.reasons) or "not in use"),
    }


def _file_rows(files: Sequence[ExpiredFiles], settings: Settings) -> list[dict[str, str]]:
    return [
        {
            "what": f"{count} {kind}",
            "size": size(size_bytes),
            "since": "",
            "plan": "delete",
            "because": f"older than {settings.retention.days(kind):g} days",
        }
        for kind, count, size_bytes in expired_files.summary(files)
    ]
