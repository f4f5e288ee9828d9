"""The retention flow: shows a plan, and deletes old versions and files after a person has approved it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from prefect import flow
from prefect.artifacts import acreate_table_artifact
from prefect.client.schemas.objects import FlowRun
from prefect.exceptions import Pause

from ai_workflow.config.settings import Settings
from ai_workflow.errors import AiWorkflowError
from ai_workflow.evaluation.markdown import escaped, inert
from ai_workflow.orchestration import approval, pending_approvals
from ai_workflow.orchestration.approval import WAIT_HOURS, Approval
from ai_workflow.orchestration.flow_parameters import Environment, LogLevel, Overrides, Pipeline, WaitHours
from ai_workflow.orchestration.maintenance import upkeep
from ai_workflow.orchestration.recovery import run_ownership
from ai_workflow.registry import expired_files, pruning, retention_plan
from ai_workflow.registry.expired_files import Old
from ai_workflow.registry.registry import Registry
from ai_workflow.registry.retention_plan import Plan
from ai_workflow.registry.retention_policy import Item, size
from ai_workflow.storage import run_lock
from ai_workflow.storage.store import Store
from ai_workflow.telemetry import logs, trace_context

log = logs.logger("retention")


@flow(name="retention", log_prints=False)
async def retention(
    config: Pipeline = None,
    environment: Environment = None,
    overrides: Overrides = None,
    wait_hours: WaitHours = WAIT_HOURS,
    log_level: LogLevel = None,
) -> Any:
    """Delete old versions and files that are not in use, after a person has seen the plan and approved it.

    Args:
        config: pipeline file; the pipeline of `config/base.yaml` if not given.
        environment: which `config/<environment>.yaml` applies.
        overrides: settings that win over every file, as `{"retention.versions": 5}`.
        wait_hours: how long to wait for an answer, a year at most; without one nothing is deleted.
        log_level: DEBUG, INFO, WARNING or ERROR, for this run only.
    """

    async def work(settings: Settings) -> dict[str, Any]:
        approval.check(wait_hours)
        store, run = Store(settings.store.root), run_ownership.current()
        # Recovery finds a paused run without a process by its lock, and reschedules it.
        await run_ownership.claim(store, trace_context.trace_id_of_run(str(run.id)), is_maintenance=True)
        try:
            result = await _answered(store, settings, run, wait_hours) or await _first(store, settings, run, wait_hours)
        except Pause:
            run_ownership.release(store)
            raise
        except AiWorkflowError:
            run_ownership.tidy_at_exit(store)
            raise
        retention_plan.forget(store, str(run.id))
        run_ownership.tidy_at_exit(store)
        return result

    return await upkeep(
        "retention", work, config=config, environment=environment, overrides=overrides, log_level=log_level
    )


async def _answered(store: Store, settings: Settings, run: FlowRun, wait_hours: float) -> dict[str, Any] | None:
    """Carry out the answer with which this run was resumed; None if it was not suspended, or not answered.

    Raises:
        AiWorkflowError: the plan that the answer is about is not in the store, or is about other models.
    """
    suspended = await approval.suspension(run)
    if suspended is None or not suspended.is_answered:
        return None
    plan = await asyncio.to_thread(retention_plan.read, store, str(run.id))
    if plan is None and not suspended.ended:
        path = store.url(f"{retention_plan.FOLDER}/{run.id}.json")
        raise AiWorkflowError(f"the plan that was answered is missing: {path}. Run retention again")
    if plan is None or plan.key != suspended.key:
        return None
    if plan.models != settings.models:
        raise AiWorkflowError(
            f"the plan that was answered is about {plan.models}, and the configuration now about {settings.models}: "
            "nothing was deleted. Run retention again"
        )
    if suspended.is_late(wait_hours):
        return _said(approval.no_answer(wait_hours))
    return await _done(plan, settings, await approval.answer(run, suspended))


async def _first(store: Store, settings: Settings, run: FlowRun, wait_hours: float) -> dict[str, Any]:
    """Ask about a new plan, unless another retention of these models is not over."""
    with run_lock.exclusive(store, f"retention-{settings.models.replace('/', '-')}") as alone:
        if not alone:
            return _said("another retention waits for an answer")
        if other := await pending_approvals.other(store, settings.models, str(run.id)):
            state = other.state.name if other.state else "unknown"
            return _said(f"another retention waits for an answer: {other.name} is {state}")
        return await _ask(store, settings, run, wait_hours)


async def _ask(store: Store, settings: Settings, run: FlowRun, wait_hours: float) -> dict[str, Any]:
    """Show a new plan, and carry it out once a person has approved it; a run that can be suspended ends here."""
    registry, policy, now = Registry(store, settings.models), settings.retention, datetime.now(UTC)
    items = await asyncio.to_thread(pruning.plan, registry, policy, watch=True)
    old = await asyncio.to_thread(expired_files.find, store, policy, now)
    await acreate_table_artifact(
        [*map(_row, items), *_rows(old, settings)],
        key=f"{settings.pipeline.replace('_', '-')}-retention",
        description=f"Retention of {settings.pipeline} in {settings.environment}: what is kept, and why",
    )
    # Prefect accepts no key twice: each question has a new one.
    plan = Plan(settings.models, str(uuid4()), now + timedelta(hours=wait_hours), _doomed(items), old)
    if not plan.versions and not plan.old:
        return _said("nothing to delete")
    text = _text(plan, items)
    if approval.can_suspend(run):
        await asyncio.to_thread(retention_plan.write, store, str(run.id), plan)
        log.info("waiting for a person until %s: %s", f"{plan.until:%Y-%m-%d %H:%M} UTC", plan.question)
        return await _done(plan, settings, await approval.suspend(text, plan.key))
    log.info("waiting for a person: %s", plan.question)
    answer = await approval.pause(run, text, plan.key, wait_hours)
    return _said(approval.no_answer(wait_hours)) if answer is None else await _done(plan, settings, answer)


async def _done(plan: Plan, settings: Settings, answer: Approval) -> dict[str, Any]:
    """Carry out an answer."""
    if not answer.approve:
        return _said(f"refused: nothing was deleted{f' ({answer.note})' if answer.note else ''}")
    registry = Registry(Store(settings.store.root), settings.models)
    reason = f"approved in Prefect{f': {answer.note}' if answer.note else ''}"
    released = await asyncio.to_thread(retention_plan.carry_out, plan, registry, settings.retention, reason)
    message = f"Released {size(released.bytes)}"
    return {**_said(message), "deleted": list(released.versions), "bytes": released.bytes}


def _doomed(items: Sequence[Item]) -> list[Item]:
    return [item for item in items if not item.kept]


def _text(plan: Plan, items: Sequence[Item]) -> str:
    """Return the description of the form."""
    lines = [f"- **{item.name}**, {size(item.bytes)}: {escaped(', '.join(item.reasons) or 'delete')}" for item in items]
    until = f"Answer until {plan.until:%Y-%m-%d %H:%M} UTC; without an answer nothing is deleted."
    return "\n".join([f"{plan.question} The plan is among the artifacts of this run. {until}", "", *lines])


def _said(message: str) -> dict[str, Any]:
    log.info("%s", message)
    return {"message": message}


def _row(item: Item) -> dict[str, Any]:
    return {
        "what": item.name,
        "size": size(item.bytes),
        "since": item.published.isoformat(timespec="minutes"),
        "plan": "keep" if item.kept else "delete",
        "because": inert(", ".join(item.reasons) or "not in use"),
    }


def _rows(old: list[Old], settings: Settings) -> list[dict[str, Any]]:
    return [
        {
            "what": f"{count} {kind}",
            "size": size(taken),
            "since": "",
            "plan": "delete",
            "because": f"older than {settings.retention.days(kind):g} days",
        }
        for kind, count, taken in expired_files.summary(old)
    ]
