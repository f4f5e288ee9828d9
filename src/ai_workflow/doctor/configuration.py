"""Check of the configuration and the SLO file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ai_workflow.config import layers, project_pipelines, startup
from ai_workflow.config.loader import Loaded
from ai_workflow.config.problems import ConfigError
from ai_workflow.doctor.context import Context
from ai_workflow.doctor.finding import Finding
from ai_workflow.errors import AiWorkflowError
from ai_workflow.slo import reader

_REMEDY = "Correct the file, then run `ai-workflow config check`"
_SLO_REMEDY = "Correct the file, then run `ai-workflow slo validate`"


def check(context: Context) -> Iterator[Finding]:
    """Yield each problem of the configuration, of the variables and of the SLO file."""
    pipeline = str(context.options.pipeline or "config/base.yaml")
    if context.config_error:
        yield from _findings(context.config_error, pipeline, _REMEDY)
    elif context.loaded:
        try:
            for loaded in (context.loaded, *_project_pipelines(context)):
                startup.check(loaded, context.env)
        except AiWorkflowError as error:
            yield from _findings(error, pipeline, _REMEDY)
    if context.spec_error:
        yield from _findings(context.spec_error, str(reader.own()), _SLO_REMEDY)


def _project_pipelines(context: Context) -> Iterable[Loaded]:
    """Return the configurations of the pipelines in `pipelines/`, none if the command names a pipeline.

    Raises:
        ConfigError: one of them is invalid.
    """
    if context.options.pipeline is not None:
        return ()
    root = layers.project_root(None, context.env)
    return project_pipelines.load(root, environment=context.options.environment).values()


def _findings(error: AiWorkflowError, file: str, remedy: str) -> Iterator[Finding]:
    if not isinstance(error, ConfigError):
        for line in str(error).splitlines():
            yield Finding("error", line, file, remedy)
        return
    for problem in error.problems:
        location = f"{problem.file}:{problem.line}" if problem.line else problem.file
        what = f"{problem.key}: {problem.message}" if problem.key else problem.message
        yield Finding("error", what, location, remedy)
