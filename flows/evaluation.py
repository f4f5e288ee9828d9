"""The evaluation flow: joins labels to predictions, and says how good each version is and whether its inputs drift."""

from __future__ import annotations

import time
from typing import Any

from prefect import flow

from ai_workflow.orchestration.flow_parameters import Environment, LogLevel, Overrides, Pipeline, Traceparent
from ai_workflow.orchestration.idle_runs import IDLE
from ai_workflow.orchestration.pipeline_run import PipelineRun, execute, secret_block
from ai_workflow.stages import drift_detector, evaluation_store, label_intake, label_joiner


@flow(name="evaluation", log_prints=False)
async def evaluation(
    config: Pipeline = None,
    environment: Environment = None,
    overrides: Overrides = None,
    traceparent: Traceparent = None,
    log_level: LogLevel = None,
) -> Any:
    """Evaluate every version by the labels that are there; safe to run at any time, and again.

    Args:
        config: pipeline file; the pipeline of `config/base.yaml` if not given.
        environment: which `config/<environment>.yaml` applies.
        overrides: settings that win over every file, as `{"evaluation.window": 500}`.
        traceparent: W3C header of the caller, whose trace this run then belongs to.
        log_level: DEBUG, INFO, WARNING or ERROR, for this run only.
    """
    return await execute(
        "evaluation",
        evaluate,
        pipeline=config,
        environment=environment,
        overrides=overrides,
        traceparent=traceparent,
        log_level=log_level,
    )


async def evaluate(run: PipelineRun) -> dict[str, Any]:
    """Run the stages in their order; the moment is part of their cache key, so that each run looks anew."""
    s, moment = run.settings, round(time.time(), 3)
    asked = label_intake.LabelJoinerOptions.of(s)
    joined = await run.stage(label_joiner.join, asked, moment, database=s.database, fetch_secret=secret_block)
    drifted = await run.stage(drift_detector.detect, joined, drift_detector.DriftDetectorOptions.of(s))
    kept = await run.stage(
        evaluation_store.save, joined, drifted, evaluation_store.EvaluationStoreOptions.of(s), moment
    )
    await run.show()
    message = f"{kept['message']}; {joined['message']}"
    return {
        "versions": kept["versions"],
        "rows": joined["rows"],
        "message": message,
        IDLE: not (joined["rows"] or any(drifted["drift"].values())),
    }
