"""The scoring flow: answers for a whole table by the version behind an alias."""

from __future__ import annotations

import json
from itertools import zip_longest
from typing import Any

from prefect import flow

from ai_workflow.errors import AiWorkflowError, VersionBroken
from ai_workflow.inference import fallback
from ai_workflow.orchestration.flow_parameters import (
    Environment,
    LogLevel,
    Overrides,
    Pipeline,
    Traceparent,
    VersionName,
)
from ai_workflow.orchestration.pipeline_run import PipelineRun, execute, secret_block
from ai_workflow.registry.registry import Registry, Version
from ai_workflow.stages import data_loader, feature_engineering, inference, preprocessor, result_store
from ai_workflow.telemetry import logs
from ai_workflow.training import protocol

log = logs.logger("flow")


@flow(name="scoring", log_prints=False)
async def scoring(
    config: Pipeline = None,
    environment: Environment = None,
    version: VersionName = "latest",
    overrides: Overrides = None,
    traceparent: Traceparent = None,
    log_level: LogLevel = None,
) -> Any:
    """Score the rows of `inference.source` (or of the training source) and store the predictions.

    Args:
        config: pipeline file; the pipeline of `config/base.yaml` if not given.
        environment: which `config/<environment>.yaml` applies.
        version: an alias (`latest`, `stable`) or a version's name.
        overrides: settings that win over every file, as `{"inference.batch_size": 1000}`.
        traceparent: W3C header of the caller, whose trace this run then belongs to.
        log_level: DEBUG, INFO, WARNING or ERROR, for this run only.
    """

    async def steps(run: PipelineRun) -> dict[str, Any]:
        return await score(run, version)

    return await execute(
        "scoring",
        steps,
        pipeline=config,
        environment=environment,
        overrides=overrides,
        traceparent=traceparent,
        log_level=log_level,
    )


async def score(run: PipelineRun, version: str) -> dict[str, Any]:
    """Score with the requested version; `stable` replaces `latest` if that is broken."""
    models = Registry(run.store, run.settings.models)
    chain = fallback.order(version, models.aliases())
    for name, other in zip_longest(chain, chain[1:]):
        try:
            return await _by(run, models, name)
        except VersionBroken as error:
            if other is None:
                raise
            log.warning("%s cannot answer, so that %s does: %s", name, other, error.problem)
    raise AssertionError("a chain has an end")


async def _by(run: PipelineRun, models: Registry, version: str) -> dict[str, Any]:
    """Run the stages in their order; the rows are cleaned and turned into numbers by the version's own spec."""
    s = run.settings
    source = s.inference.source or s.source
    chosen = _found(models, version)
    spec = json.loads(inference.read(models, chosen, "features.json"))
    loaded = await run.stage(
        data_loader.load,
        source,
        inputs=lambda: data_loader.inspect(source),
        database=s.database,
        fetch_secret=secret_block,
    )
    clean = await run.stage(preprocessor.preprocess, loaded, preprocessor.Rules.of_spec(spec, s))
    featured = await run.stage(feature_engineering.apply, clean, spec)
    options = inference.InferenceOptions(
        version=chosen.name, folder=s.models, batch_size=s.scoring_batch_size, timeout=s.model.timeout
    )
    scored = await run.stage(
        inference.predict, featured, options, loads=protocol.modules_of(chosen.manifest.get("kind", ""))
    )
    stored = await run.stage(result_store.save, scored, s.pipeline)
    await run.show()
    return {"version": chosen.name, "folder": stored["folder"], "rows": stored["rows"], "message": stored["message"]}


def _found(models: Registry, version: str) -> Version:
    try:
        return models.get(version)
    except AiWorkflowError as error:
        raise VersionBroken(str(error)) from error
