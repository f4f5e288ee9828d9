"""The scoring flow: predictions for a whole table by the version behind an alias."""

from __future__ import annotations

import asyncio

from ai_workflow.features import own_features
from ai_workflow.orchestration import added_stages, scoring_fallback, secret_blocks
from ai_workflow.orchestration.flow_definition import pipeline_flow
from ai_workflow.orchestration.flow_parameters import VersionName
from ai_workflow.orchestration.flow_result import FlowResult
from ai_workflow.orchestration.pipeline_run import PipelineRun
from ai_workflow.registry.registry import Version
from ai_workflow.sources import own_source
from ai_workflow.stages import data_loader, feature_engineering, inference, preprocessor, result_store
from ai_workflow.training import protocol


@pipeline_flow(override='{"inference.batch_size": 1000}')
async def scoring(run: PipelineRun, version: VersionName = "latest") -> FlowResult:
    """Score the rows of `inference.source` (or of the training source) and store the predictions.

    Args:
        run: settings and parameters of the run.
        version: an alias (`latest`, `stable`) or a version's name.
    """

    async def score(chosen: Version) -> FlowResult:
        return await _score(run, chosen)

    return await scoring_fallback.run(run, version, score)


async def _score(run: PipelineRun, chosen: Version) -> FlowResult:
    """Run the stages in their order; the feature spec of the version cleans and transforms the rows."""
    s = run.settings
    source = s.reading(s.inference.source or s.source)
    source_code = await asyncio.to_thread(own_source.check, source)
    spec = scoring_fallback.feature_spec(run, chosen)
    added = await added_stages.check(run, source)
    loaded = await run.stage(
        data_loader.load,
        source,
        inputs=lambda: data_loader.inspect(source),
        loads=source_code,
        database=s.database,
        fetch_secret=secret_blocks.load,
        accept_empty=True,
    )
    loaded = await added(loaded, accept_empty=True)
    clean = await run.stage(preprocessor.preprocess, loaded, preprocessor.RowRules.of_spec(spec, s))
    functions = own_features.references_of(spec)
    featured = await run.stage(feature_engineering.apply, clean, spec, loads=functions)
    options = inference.InferenceOptions(
        version=chosen.name, folder=s.models, batch_size=s.scoring_batch_size, timeout=s.model.timeout
    )
    modules = protocol.modules_of(chosen.manifest.get("kind", ""))
    scored = await run.stage(inference.predict, featured, options, loads=modules)
    stored = await run.stage(result_store.save, scored, s.pipeline)
    await run.show()
    values = {"version": chosen.name, "folder": stored["folder"], "rows": stored["rows"], "rejected": clean["rejected"]}
    if clean["quarantine"]:
        path = clean["quarantine"]["path"]
        message = f"{stored['message']}, {clean['rejected']} rows rejected: {run.store.url(path)}"
        return FlowResult(message, {**values, "quarantine": path})
    return FlowResult(stored["message"], values)
