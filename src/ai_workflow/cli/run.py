"""`ai-workflow run` and `ai-workflow score`: pipelines by hand, on the local Prefect server if no other is set."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

Flow = Literal["training", "scoring", "evaluation", "recovery", "promotion", "retention", "drill"]


def run(
    flow: Flow | None = None,
    /,
    *,
    pipeline: Path | None = None,
    environment: str | None = None,
    log_level: str | None = None,
) -> int:
    """Run a pipeline from its source to stored predictions, or one of its flows.

    Args:
        flow: The flow; training, then scoring, with a Prefect server started if none answers, if not given.
        pipeline: YAML file of a pipeline; the pipeline of `config/base.yaml` if not given.
        environment: Which config/NAME.yaml; else AIW_ENVIRONMENT, else development.
        log_level: DEBUG, INFO, WARN or ERROR, of one flow; as the configuration says if not given.
    """
    if flow:
        from ai_workflow.local import manual_run

        return manual_run.main(flow, pipeline, environment, log_level)
    from ai_workflow.local import first_run

    return first_run.main(pipeline, environment)


def score(
    source: str = "", *, pipeline: Path | None = None, environment: str | None = None, model: str = "latest"
) -> int:
    """Score another file with the trained model, with a Prefect server started if none answers.

    Args:
        source: A file, glob, folder or URL in the format of the pipeline's inference.source, else source.
        pipeline: YAML file of a pipeline; the pipeline of `config/base.yaml` if not given.
        environment: Which config/NAME.yaml; else AIW_ENVIRONMENT, else development.
        model: latest, stable or the name of a version.
    """
    from ai_workflow.local import score as scoring

    return scoring.main(source, pipeline, environment, model)
