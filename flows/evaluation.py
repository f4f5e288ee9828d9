"""The evaluation flow: joins labels to predictions, and measures accuracy and drift of each version."""

from __future__ import annotations

import time

from ai_workflow.orchestration import secret_blocks
from ai_workflow.orchestration.flow_definition import pipeline_flow
from ai_workflow.orchestration.flow_result import FlowResult
from ai_workflow.orchestration.pipeline_run import PipelineRun
from ai_workflow.stages import drift_detector, evaluation_store, label_intake, label_joiner


@pipeline_flow(override='{"evaluation.window": 500}')
async def evaluation(run: PipelineRun) -> FlowResult:
    """Evaluate every version by the available labels; idempotent."""
    s = run.settings
    # The time is part of the cache keys: each run reads the labels again.
    now = round(time.time(), 3)
    options = label_intake.LabelJoinerOptions.of(s)
    joined = await run.stage(label_joiner.join, options, now, database=s.database, fetch_secret=secret_blocks.load)
    drifted = await run.stage(drift_detector.detect, joined, drift_detector.DriftDetectorOptions.of(s))
    stored = await run.stage(evaluation_store.save, joined, drifted, evaluation_store.EvaluationStoreOptions.of(s), now)
    await run.show()
    return FlowResult(
        f"{stored['message']}; {joined['message']}",
        {"versions": stored["versions"], "rows": joined["rows"]},
        is_idle=not (joined["rows"] or any(drifted["drift"].values())),
    )
