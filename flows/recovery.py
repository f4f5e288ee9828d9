"""The recovery flow: runs whose process is gone are marked, and those of deployments go on, a few times at most."""

from __future__ import annotations

from typing import Any

from prefect import flow
from prefect.artifacts import acreate_table_artifact
from prefect.client.orchestration import get_client
from prefect.runtime import flow_run

from ai_workflow.config.settings import Settings
from ai_workflow.orchestration import pending_approvals
from ai_workflow.orchestration.flow_parameters import Environment, LogLevel, Overrides, Pipeline
from ai_workflow.orchestration.idle_runs import IDLE
from ai_workflow.orchestration.maintenance import upkeep
from ai_workflow.orchestration.recovery import dead_runs, orphan_tasks, reschedule
from ai_workflow.orchestration.recovery.run_lookup import FoundRuns
from ai_workflow.telemetry import logs

log = logs.logger("recovery")


@flow(name="recovery", log_prints=False)
async def recovery(
    config: Pipeline = None,
    environment: Environment = None,
    overrides: Overrides = None,
    log_level: LogLevel = None,
) -> Any:
    """Do what is to be done about every run whose process is gone; safe to run at any time, and as often as one likes.

    Args:
        config: pipeline file, for its settings; the one that a run was started with is the run's own.
        environment: which `config/<environment>.yaml` applies, also to runs that were started with none.
        overrides: settings that win over every file, as `{"recovery.max_attempts": 1}`.
        log_level: DEBUG, INFO, WARNING or ERROR, for this run only.
    """

    async def work(settings: Settings) -> dict[str, Any]:
        async with get_client() as client:
            return await recover(FoundRuns(client, settings, environment, str(flow_run.id)))

    return await upkeep(
        "recovery", work, config=config, environment=environment, overrides=overrides, log_level=log_level
    )


async def recover(runs: FoundRuns) -> dict[str, Any]:
    """Do it, unless another recovery is at it, and show what was done among the artifacts."""
    with runs.alone() as alone:
        if not alone:
            log.info("another recovery is at work")
            return {"message": "another recovery is at work", IDLE: True}
        await dead_runs.end(runs)
        await reschedule.give(runs)
        await orphan_tasks.end(runs)
        await pending_approvals.end_overdue(runs)
    if not runs.done:
        return {"message": "no run needed recovery", IDLE: True}
    await acreate_table_artifact(runs.done, key="recovery", description="Runs whose process was gone")
    return {"message": f"{len(runs.done)} things done"}
