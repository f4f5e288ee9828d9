"""The retention flow: a plan, a person's yes, and only then are old versions and old files deleted."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from prefect import flow
from prefect.artifacts import acreate_table_artifact
from prefect.client.orchestration import get_client
from prefect.exceptions import FlowPauseTimeout
from prefect.flow_runs import apause_flow_run
from prefect.input import RunInput
from prefect.runtime import flow_run
from prefect.states import Running
from pydantic import Field

from ai_workflow import logs, old_files, pruning, run_lock, trace
from ai_workflow.errors import AiWorkflowError
from ai_workflow.old_files import Old
from ai_workflow.registry import Registry
from ai_workflow.retention import Item, size
from ai_workflow.settings import Settings
from ai_workflow.store import Store
from flows import one_process
from flows.parameters import Environment, LogLevel, Overrides, Pipeline
from flows.upkeep import upkeep

# How often a paused run looks whether it was answered.
POLL_SECONDS = 5
log = logs.logger("retention")


class Approval(RunInput):
    """What a person says to the plan."""

    approve: bool = Field(default=False, description="Delete what the plan says.")
    note: str = Field(default="", description="Why, or why not: it goes into the history.")


@flow(name="retention", log_prints=False)
async def retention(
    config: Pipeline = None,
    environment: Environment = None,
    overrides: Overrides = None,
    wait_hours: float = 72,
    log_level: LogLevel = None,
) -> Any:
    """Delete what nobody needs, after a person has seen the plan and approved it.

    Args:
        config: pipeline file; the pipeline of `config/base.yaml` if not given.
        environment: which `config/<environment>.yaml` applies.
        overrides: settings that win over every file, as `{"retention.versions": 5}`.
        wait_hours: how long to wait for an answer; without one nothing is deleted.
        log_level: DEBUG, INFO, WARNING or ERROR, for this run only.
    """

    async def work(settings: Settings) -> dict[str, Any]:
        store = Store(settings.store.root)
        # A question whose process is gone is found by its lock, and asked again.
        await one_process.claim(store, trace.id_of_run(str(flow_run.id)), looks_after=True)
        try:
            with run_lock.alone(store, f"retention-{settings.models.replace('/', '-')}") as alone:
                said = await prune(settings, wait_hours) if alone else _said("another retention waits for an answer")
        except AiWorkflowError:
            one_process.tidy_at_exit(store)
            raise
        one_process.tidy_at_exit(store)
        return said

    return await upkeep(
        "retention", work, config=config, environment=environment, overrides=overrides, log_level=log_level
    )


async def prune(settings: Settings, wait_hours: float) -> dict[str, Any]:
    """Show the plan, wait for an answer, and do what it says, as far as it is right still."""
    store = Store(settings.store.root)
    registry, policy, now = Registry(store, settings.models), settings.retention, datetime.now(UTC)
    items = await asyncio.to_thread(pruning.plan, registry, policy, watch=True)
    old = await asyncio.to_thread(old_files.find, store, policy, now)
    doomed = [item for item in items if not item.kept]
    await acreate_table_artifact(
        [*map(_row, items), *_rows(old, settings)],
        key=f"{settings.pipeline.replace('_', '-')}-retention",
        description=f"Retention of {settings.pipeline} in {settings.environment}: what is kept, and why",
    )
    if not doomed and not old:
        return _said("nothing to delete")
    total = size(sum(item.bytes for item in doomed) + sum(one.bytes for one in old))
    question = f"Delete {len(doomed)} versions ({', '.join(item.name for item in doomed) or 'none'}) and "
    question += f"{len(old)} old files, {total}? The plan is among the artifacts of this run."
    log.info("waiting for a person: %s", question)
    shown = [f"- **{item.name}**, {size(item.bytes)}: {', '.join(item.reasons) or 'delete'}" for item in items]
    asked = Approval.with_initial_data(description="\n".join([question, "", *shown]), approve=False)
    try:
        answer = await apause_flow_run(
            wait_for_input=asked,
            timeout=max(1, int(wait_hours * 3600)),
            poll_interval=POLL_SECONDS,
            # Another attempt at this run asks anew; Prefect takes no key twice.
            key=str(uuid4()),
        )
    except FlowPauseTimeout:
        # Prefect lets no run complete that was paused and never resumed; to have asked in vain is no failure.
        async with get_client() as client:
            await client.set_flow_run_state(flow_run.id, Running(), force=True)
        return _said(f"nobody answered within {wait_hours:g} h: nothing was deleted")
    if not answer.approve:
        return _said(f"refused: nothing was deleted{f' ({answer.note})' if answer.note else ''}")
    reason = f"approved in Prefect{f': {answer.note}' if answer.note else ''}"
    done = await asyncio.to_thread(pruning.prune, registry, policy, [item.name for item in doomed], reason)
    for item in done.spared:
        log.info("%s stays: %s", item.name, ", ".join(item.reasons))
    freed = done.bytes + await asyncio.to_thread(old_files.remove, store, old, policy, now)
    return {**_said(f"Released {size(freed)}"), "deleted": [item.name for item in done.deleted], "bytes": freed}


def _said(message: str) -> dict[str, Any]:
    log.info("%s", message)
    return {"message": message}


def _row(item: Item) -> dict[str, Any]:
    return {
        "what": item.name,
        "size": size(item.bytes),
        "since": item.published.isoformat(timespec="minutes"),
        "plan": "keep" if item.kept else "delete",
        "because": ", ".join(item.reasons) or "nobody needs it",
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
        for kind, count, taken in old_files.summary(old)
    ]
