"""`ai-workflow run` and `ai-workflow score`: manual runs, on the local Prefect server if no other is configured."""

from __future__ import annotations

from typing import Literal

from ai_workflow.cli.common_options import CommonOptions, WritingOptions

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
    if flow:
        from ai_workflow.local import manual_run

        return manual_run.main(flow, options.pipeline, options.environment, log_level, options.overrides)
    from ai_workflow.local import first_run

    return first_run.main(options.pipeline, options.environment, options.root)


def score(source: str = "", *, options: CommonOptions = _DEFAULTS, model: str = "latest") -> int:
    """Score another file with the trained model; a local Prefect server is started if none runs.

    Args:
        source: File, glob, folder or URL in the format of inference.source of the pipeline, else of source.
        options: Pipeline, environment and store.
        model: Alias or name of a version.
    """
    from ai_workflow.local import score as scoring

    return scoring.main(source, options.pipeline, options.environment, model, options.root)
