"""The training flow: from the source to a published version."""

from __future__ import annotations

from typing import Any

from prefect import flow

from ai_workflow.evaluation import champion
from ai_workflow.orchestration import card_artifact
from ai_workflow.orchestration.flow_parameters import Environment, LogLevel, Overrides, Pipeline, Traceparent
from ai_workflow.orchestration.pipeline_run import PipelineRun, execute, secret_block
from ai_workflow.registry.registry import Registry
from ai_workflow.stages import data_loader, evaluator, feature_engineering, preprocessor, registry, trainer
from ai_workflow.training import protocol


@flow(name="training", log_prints=False)
async def training(
    config: Pipeline = None,
    environment: Environment = None,
    overrides: Overrides = None,
    traceparent: Traceparent = None,
    log_level: LogLevel = None,
) -> Any:
    """Train, judge and publish a model.

    Args:
        config: pipeline file; the pipeline of `config/base.yaml` if not given.
        environment: which `config/<environment>.yaml` applies.
        overrides: settings that win over every file, as `{"trainer.steps": 300}`.
        traceparent: W3C header of the caller, whose trace this run then belongs to.
        log_level: DEBUG, INFO, WARNING or ERROR, for this run only.
    """
    return await execute(
        "training",
        steps,
        pipeline=config,
        environment=environment,
        overrides=overrides,
        traceparent=traceparent,
        log_level=log_level,
    )


async def steps(run: PipelineRun) -> dict[str, Any]:
    """Run the stages in their order; each gets references to what earlier ones made."""
    s = run.settings
    loaded = await run.stage(
        data_loader.load,
        s.source,
        inputs=lambda: data_loader.inspect(s.source),
        database=s.database,
        fetch_secret=secret_block,
    )
    clean = await run.stage(preprocessor.preprocess, loaded, preprocessor.Rules.of(s))
    featured = await run.stage(feature_engineering.fit, clean, feature_engineering.ColumnRoles.of(s), s.features)
    rows = protocol.rows_per_step(s.trainer.kind, s.training_batch_size)
    trained = await run.stage(trainer.train, featured, s.trainer, rows, loads=protocol.modules_of(s.trainer.kind))
    models = Registry(run.store, s.models)
    stable = champion.find(models, trained["fingerprint"])
    kinds = [trained["kind"], *([models.get(stable).manifest.get("kind", "")] if stable else [])]
    evaluated = await run.stage(
        evaluator.evaluate,
        clean,
        featured,
        trained,
        evaluator.QualityGate.of(s),
        champion.ChampionOptions(version=stable, folder=s.models, timeout=s.model.timeout),
        loads=protocol.modules_of(*kinds),
    )
    published = await run.stage(
        registry.publish, featured, trained, evaluated, registry.RegistryOptions(folder=s.models)
    )
    await run.show(card_artifact.shown(run.store, published["folder"]))
    return {"version": published["version"], "folder": published["folder"], "message": published["message"]}
