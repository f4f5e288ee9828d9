"""The training flow: from the source to a published version."""

from __future__ import annotations

import asyncio

from ai_workflow.datasets.notation.published import NO_TYPES
from ai_workflow.evaluation import champion, own_metrics, quality_gate
from ai_workflow.features import own_features
from ai_workflow.orchestration import added_stages, artifacts, secret_blocks
from ai_workflow.orchestration.flow_definition import pipeline_flow
from ai_workflow.orchestration.flow_result import FlowResult
from ai_workflow.orchestration.pipeline_run import PipelineRun
from ai_workflow.registry import published_types
from ai_workflow.registry.registry import Registry
from ai_workflow.sources import own_source
from ai_workflow.stages import (
    data_loader,
    evaluator,
    feature_engineering,
    parameter_search,
    preprocessor,
    registry,
    trainer,
)
from ai_workflow.training import protocol


@pipeline_flow(override='{"trainer.steps": 300}')
async def training(run: PipelineRun) -> FlowResult:
    """Train, judge and publish a model."""
    s = run.settings
    family = await asyncio.to_thread(protocol.check, s.trainer.kind)
    functions = await asyncio.to_thread(own_features.check, s.features.functions)
    options = parameter_search.SearchOptions.of(s)
    await asyncio.to_thread(parameter_search.check, options)
    gate = quality_gate.QualityGate.of(s)
    metrics = await asyncio.to_thread(
        own_metrics.check, gate.own_metrics, gate.metric, gate.scoring.own_per_class or ()
    )
    source = s.reading(s.source)
    source_code = await asyncio.to_thread(own_source.check, source)
    added = await added_stages.check(run, source)
    loaded = await run.stage(
        data_loader.load,
        source,
        inputs=lambda: data_loader.inspect(source),
        loads=source_code,
        database=s.database,
        fetch_secret=secret_blocks.load,
    )
    loaded = await added(loaded)
    rules = preprocessor.RowRules.of(s)
    clean = await run.stage(
        preprocessor.preprocess,
        loaded,
        rules,
        inputs=lambda: published_types.of_training(run.store, s.models, loaded, rules) if s.keep_types else NO_TYPES,
    )
    roles = feature_engineering.ColumnRoles.of(s)
    featured = await run.stage(feature_engineering.fit, clean, roles, s.features, loads=functions)
    await asyncio.to_thread(lambda: gate.check(feature_engineering.read_spec(run.store, featured)["classes"]))
    found = None
    if options is not None:
        found = await run.stage(parameter_search.search, clean, featured, options, loads=(*family, *metrics))
        s = parameter_search.apply(s, found)
        gate = quality_gate.QualityGate.of(s)
    rows = protocol.rows_per_step(s.trainer.kind, s.training_batch_size)
    trained = await run.stage(trainer.train, featured, s.trainer, rows, loads=family)
    models = Registry(run.store, s.models)
    stable = champion.find(models, trained["fingerprint"])
    kinds = [trained["kind"], *([models.get(stable).manifest.get("kind", "")] if stable else [])]
    evaluated = await run.stage(
        evaluator.evaluate,
        clean,
        featured,
        trained,
        gate,
        champion.ChampionOptions(version=stable, folder=s.models, timeout=s.model.timeout),
        found,
        loads=(*protocol.modules_of(*kinds), *metrics),
    )
    published = await run.stage(
        registry.publish, featured, trained, evaluated, registry.RegistryOptions(folder=s.models)
    )
    await run.show(artifacts.model_card(run.store, published["folder"]))
    return FlowResult(published["message"], {"version": published["version"], "folder": published["folder"]})
