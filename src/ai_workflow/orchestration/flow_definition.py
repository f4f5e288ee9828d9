"""Decorators that make a Prefect flow of a function, with the parameters that all flows share.

The function takes the run first, then the parameters of its own. Prefect's form shows both: `event_id` and other
required parameters first, then `config` and `environment`, the optional ones of the function, and the rest. The
`Args` of the docstring describe the function's own parameters; they may replace the description of a shared one.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Awaitable, Callable
from typing import Any

from prefect import Flow, flow
from prefect.utilities.callables import parameter_docstrings

from ai_workflow.orchestration import pipeline_run
from ai_workflow.orchestration.flow_parameters import Environment, LogLevel, Overrides, Pipeline, Traceparent
from ai_workflow.orchestration.flow_request import FlowRequest
from ai_workflow.orchestration.maintenance import maintenance_run

Function = Callable[..., Awaitable[Any]]
_ANNOTATIONS = {
    "config": Pipeline,
    "environment": Environment,
    "overrides": Overrides,
    "traceparent": Traceparent,
    "log_level": LogLevel,
}
_DESCRIPTIONS = {
    "config": "pipeline file, or the name of a pipeline in `pipelines/`; that of `config/base.yaml` if not given.",
    "environment": "which `config/<environment>.yaml` applies.",
    "traceparent": "W3C header of the caller, whose trace this run then belongs to.",
    "log_level": "DEBUG, INFO, WARNING or ERROR, for this run only.",
}


def pipeline_flow(*, override: str = "") -> Callable[[Function], Flow[..., Any]]:
    """Return a decorator for a function that runs stages: `async def name(run: PipelineRun, ...) -> FlowResult`.

    Args:
        override: example of `overrides`, as JSON.
    """
    return functools.partial(_define, pipeline_run.execute, tuple(_ANNOTATIONS), override)


def maintenance_flow(*, override: str = "") -> Callable[[Function], Flow[..., Any]]:
    """Return a decorator for a function without stages: `async def name(run: MaintenanceRun, ...) -> FlowResult`.

    Args:
        override: example of `overrides`, as JSON.
    """
    shared = tuple(name for name in _ANNOTATIONS if name != "traceparent")
    return functools.partial(_define, maintenance_run.execute, shared, override)


def _define(
    execute: Callable[[FlowRequest, Function], Awaitable[Any]],
    shared: tuple[str, ...],
    override: str,
    function: Function,
) -> Flow[..., Any]:
    name = function.__name__
    signature = _signature(function, shared)

    @functools.wraps(function)
    async def entry(*args: Any, **kwargs: Any) -> Any:
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        parameters = dict(bound.arguments)
        request = FlowRequest(name, **{key: parameters.pop(key) for key in shared})
        return await execute(request, functools.partial(function, **parameters))

    entry.__signature__ = signature  # type: ignore[attr-defined]
    entry.__annotations__ = {each.name: each.annotation for each in signature.parameters.values()}
    entry.__doc__ = _docstring(function, signature, override)
    return flow(name=name, log_prints=False)(entry)


def _signature(function: Function, shared: tuple[str, ...]) -> inspect.Signature:
    """Return the signature of the flow, without the run that the function takes first."""
    own = list(inspect.signature(function, eval_str=True).parameters.values())[1:]
    required = [parameter for parameter in own if parameter.default is parameter.empty]
    optional = [parameter for parameter in own if parameter.default is not parameter.empty]
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    common = [inspect.Parameter(name, kind, default=None, annotation=_ANNOTATIONS[name]) for name in shared]
    return inspect.Signature([*required, *common[:2], *optional, *common[2:]], return_annotation=Any)


def _docstring(function: Function, signature: inspect.Signature, override: str) -> str:
    text = inspect.getdoc(function) or ""
    example = f", as `{override}`" if override else ""
    descriptions = {
        **_DESCRIPTIONS,
        "overrides": f"settings that win over every file{example}.",
        **parameter_docstrings(text),
    }
    lines = [f"    {name}: {' '.join(descriptions[name].split())}" for name in signature.parameters]
    return "\n".join([text.partition("\nArgs:")[0].strip(), "", "Args:", *lines])
