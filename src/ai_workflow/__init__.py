"""AI pipelines in production on Prefect: staged, traced, resumable, with a fallback for every request.

The names in `__all__` are the public API, see docs/api.md. Each is imported on first use, so that `import ai_workflow`
stays fast and loads neither Prefect nor pandas.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ai_workflow.alerting.channels.channel import RateLimitedError
    from ai_workflow.alerting.channels.own_channel import AlertChannel, AlertMessage
    from ai_workflow.cleaning.own_stage import RowStage, TableStage
    from ai_workflow.config.loader import load as load_config
    from ai_workflow.config.settings import Settings
    from ai_workflow.datasets.partitions import Dataset
    from ai_workflow.errors import AiWorkflowError, StageError, TransientError
    from ai_workflow.evaluation.own_metrics import MetricFunction
    from ai_workflow.features.own_features import FeatureFunction, FittedFeature
    from ai_workflow.orchestration.flow_definition import pipeline_flow
    from ai_workflow.orchestration.flow_result import FlowResult
    from ai_workflow.orchestration.pipeline_run import PipelineRun
    from ai_workflow.registry.registry import Registry, Version
    from ai_workflow.sources.own_source import RowSource
    from ai_workflow.stage_names import stage
    from ai_workflow.storage.store import Store
    from ai_workflow.telemetry.logs import logger as get_logger
    from ai_workflow.training.contributions import ExplainedModel
    from ai_workflow.training.protocol import Predict, Trainer, TrainingData

__all__ = [
    "AiWorkflowError",
    "AlertChannel",
    "AlertMessage",
    "Dataset",
    "ExplainedModel",
    "FeatureFunction",
    "FittedFeature",
    "FlowResult",
    "MetricFunction",
    "PipelineRun",
    "Predict",
    "RateLimitedError",
    "Registry",
    "RowSource",
    "RowStage",
    "Settings",
    "StageError",
    "Store",
    "TableStage",
    "Trainer",
    "TrainingData",
    "TransientError",
    "Version",
    "get_logger",
    "load_config",
    "pipeline_flow",
    "stage",
]
_LOCATIONS = {
    "AiWorkflowError": ("errors", "AiWorkflowError"),
    "AlertChannel": ("alerting.channels.own_channel", "AlertChannel"),
    "AlertMessage": ("alerting.channels.own_channel", "AlertMessage"),
    "Dataset": ("datasets.partitions", "Dataset"),
    "ExplainedModel": ("training.contributions", "ExplainedModel"),
    "FeatureFunction": ("features.own_features", "FeatureFunction"),
    "FittedFeature": ("features.own_features", "FittedFeature"),
    "FlowResult": ("orchestration.flow_result", "FlowResult"),
    "MetricFunction": ("evaluation.own_metrics", "MetricFunction"),
    "PipelineRun": ("orchestration.pipeline_run", "PipelineRun"),
    "Predict": ("training.protocol", "Predict"),
    "RateLimitedError": ("alerting.channels.channel", "RateLimitedError"),
    "Registry": ("registry.registry", "Registry"),
    "RowSource": ("sources.own_source", "RowSource"),
    "RowStage": ("cleaning.own_stage", "RowStage"),
    "Settings": ("config.settings", "Settings"),
    "StageError": ("errors", "StageError"),
    "Store": ("storage.store", "Store"),
    "TableStage": ("cleaning.own_stage", "TableStage"),
    "Trainer": ("training.protocol", "Trainer"),
    "TrainingData": ("training.protocol", "TrainingData"),
    "TransientError": ("errors", "TransientError"),
    "Version": ("registry.registry", "Version"),
    "get_logger": ("telemetry.logs", "logger"),
    "load_config": ("config.loader", "load"),
    "pipeline_flow": ("orchestration.flow_definition", "pipeline_flow"),
    "stage": ("stage_names", "stage"),
}


def __getattr__(name: str) -> Any:
    if name not in _LOCATIONS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _LOCATIONS[name]
    return getattr(import_module(f"{__name__}.{module}"), attribute)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
