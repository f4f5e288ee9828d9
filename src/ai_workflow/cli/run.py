"""`ai-workflow run` and `ai-workflow score`: manual runs, on the local Prefect server if no other is configured."""

from __future__ import annotations

from typing import Literal

from ai_workflow.cli.common_options import CommonOptions, WritingOptions
from ai_workflow.errors import AiWorkflowError
from ai_workflow.telemetry import logs

Flow = Literal["training", "scoring", "evaluation", "recovery", "promotion", "retention", "drill"]
_DEFAULTS = CommonOptions()
_WRITING = WritingOptions()


def run(flow: Flow | None = None, /, *, options: WritingOptions = _WRITING, log_level: str | None = None) -> int:
    """Run a pipeline from its source to stored predictions, or one of its flows.

    Args:
        flow: The flow to run. If not given: training, then scoring; a local Prefect server is started if none runs.
        options: Pipeline, environment and store.
        log_level: DEBUG, INFO, WARN or ERROR, for a single flow; logging.level if not given.
    """
    if log_level is not None:
        _require_level(flow, log_level)
    if flow:
        from ai_workflow.local import manual_run

        return manual_run.main(flow, options.pipeline, options.environment, log_level, options.overrides)
    from ai_workflow.local import first_run

    return first_run.main(options.pipeline, options.environment, options.root)


def _require_level(flow: Flow | None, log_level: str) -> None:
    """Raise if `--log-level` has no effect or is not a level.

    Raises:
        AiWorkflowError: no flow is given, or the level is not valid.
    """
    if flow is None:
        raise AiWorkflowError(
            "--log-level applies to a single flow. Name one, such as ai-workflow run training --log-level DEBUG, or "
            "set AIW_LOG_LEVEL"
        )
    if logs.normalize_level(log_level) not in logs.LEVELS:
        raise AiWorkflowError(f"--log-level '{log_level}' is not a level. Pass DEBUG, INFO, WARN or ERROR")


def score(source: str = "", *, options: CommonOptions = _DEFAULTS, model: str = "latest") -> int:
    """Score another file with the trained model; a local Prefect server is started if none runs.

    Args:
        source: File, glob, folder or URL in the format of inference.source of the pipeline, else of source.
        options: Pipeline, environment and store.
        model: Alias or name of a version.
    """
    from ai_workflow.local import score as scoring

    return scoring.main(source, options.pipeline, options.environment, model, options.root)
