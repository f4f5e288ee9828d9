"""Fallback of the scoring flow: `stable` scores the table if `latest` is broken."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from itertools import zip_longest

from ai_workflow.errors import AiWorkflowError, BrokenVersionError
from ai_workflow.features.spec import FeatureSpec
from ai_workflow.inference import fallback
from ai_workflow.orchestration.flow_result import FlowResult
from ai_workflow.orchestration.pipeline_run import PipelineRun
from ai_workflow.registry.registry import Registry, Version
from ai_workflow.stages import inference
from ai_workflow.telemetry import logs

log = logs.logger("flow")


async def run(run: PipelineRun, version: str, score: Callable[[Version], Awaitable[FlowResult]]) -> FlowResult:
    """Score with the requested version; `stable` replaces `latest` if that is broken.

    Args:
        run: the run of the flow.
        version: an alias or the name of a version.
        score: scores the table with one version.

    Raises:
        BrokenVersionError: the last version that may score is missing or broken.
    """
    models = Registry(run.store, run.settings.models)
    chain = fallback.order(version, models.aliases())
    for name, next_name in zip_longest(chain, chain[1:]):
        try:
            return await score(_version(models, name))
        except BrokenVersionError as error:
            if next_name is None:
                raise
            log.warning("%s is broken, and %s replaces it: %s", name, next_name, error.problem)
    raise AssertionError("fallback.order returns at least one version")


def feature_spec(run: PipelineRun, version: Version) -> FeatureSpec:
    """Return the feature spec of a version.

    Raises:
        BrokenVersionError: its file is missing or damaged.
    """
    spec: FeatureSpec = json.loads(inference.read(Registry(run.store, run.settings.models), version, "features.json"))
    return spec


def _version(models: Registry, name: str) -> Version:
    try:
        return models.get(name)
    except AiWorkflowError as error:
        raise BrokenVersionError(str(error)) from error
