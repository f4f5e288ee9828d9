"""A stage as a Prefect task: content-based cache key, retries, and errors of the package without tracebacks."""

from __future__ import annotations

import asyncio
import inspect
import sys
from collections.abc import Callable
from functools import cache
from typing import Any

from prefect import Task, task
from prefect.cache_policies import CacheKeyFnPolicy
from prefect.client.schemas.objects import State, TaskRun
from prefect.context import TaskRunContext
from prefect.states import Crashed, Failed
from pydantic import BaseModel

from ai_workflow.datasets import fingerprint
from ai_workflow.errors import AiWorkflowError, Interrupted, TransientError
from ai_workflow.orchestration import result_cache
from ai_workflow.orchestration.stage_progress import StageProgress
from ai_workflow.runtime import memory_pressure, process_limit
from ai_workflow.stage_names import name_of
from ai_workflow.telemetry import logs

RETRY_SECONDS = (1, 5)
_TRANSIENT = "Transient"
Result = dict[str, Any]


class Attempt:
    """The work of a stage, opaque to Prefect, and the error of its last call.

    Prefect would log the traceback of a raised error. The task returns a state instead, and `PipelineRun` raises the
    stored error in the flow.
    """

    def __init__(self, work: Callable[[], Result], stage: str) -> None:
        self.work, self.stage = work, stage
        self.error: AiWorkflowError | None = None


def key(work: Callable[..., Result], args: tuple[Any, ...], loads: tuple[str, ...] = ()) -> str:
    """Return the cache key `stage/code version/options-inputs`, the same in every process.

    Args:
        work: the function of a stage.
        args: its options, and results of earlier stages.
        loads: full names of the modules that it loads by name, such as that of the model family.

    Raises:
        StageError: the function has no stage name, or its source is not found.
    """
    options = [arg for arg in args if isinstance(arg, BaseModel)]
    inputs = [_content(arg) for arg in args if not isinstance(arg, BaseModel)]
    name, file = name_of(work), getattr(sys.modules.get(work.__module__), "__file__", None)
    # Prefect loads a flow file under a name that is not in sys.modules.
    source = {} if file else {"file": inspect.getsourcefile(inspect.unwrap(work))}
    version = fingerprint.of(fingerprint.code_version(work.__module__, *loads, **source), work.__name__)
    return f"{name}/{version}/{fingerprint.of(*options)}-{fingerprint.of(*inputs)}"


def _content(arg: Any) -> Any:
    """Return an input without the paths of source files: a file that was moved holds the same rows."""
    if not isinstance(arg, list) or not all(isinstance(file, dict) and "sha256" in file for file in arg):
        return arg
    return [{name: value for name, value in file.items() if name != "path"} for file in arg]


@cache
def of(name: str) -> Task[..., Any]:
    """Return the Prefect task of a stage; it is called with the cache key and an `Attempt`."""
    policy = CacheKeyFnPolicy(cache_key_fn=lambda _, parameters: parameters["key"])
    return task(
        name=name,
        task_run_name=name,
        cache_policy=policy,
        persist_result=True,
        result_serializer="json",
        log_prints=False,
        retries=len(RETRY_SECONDS),
        retry_delay_seconds=list(RETRY_SECONDS),
        retry_condition_fn=_is_transient,
    )(_perform)


async def _perform(key: str, attempt: Attempt) -> Result | State[Any]:
    """Run the work in a thread, so that heartbeats and signals are handled meanwhile."""
    attempt.error = None
    try:
        with StageProgress(attempt.stage), process_limit.explained():
            return result_cache.sealed(await asyncio.to_thread(memory_pressure.explained, attempt.work))
    except AiWorkflowError as error:
        attempt.error = error
        result_cache.disable_caching()
        if isinstance(error, Interrupted):
            return Crashed(message=str(error))
        if isinstance(error, TransientError):
            _log_retry(attempt.stage, error)
            return Failed(name=_TRANSIENT, message=str(error))
        return Failed(message=str(error))


def _log_retry(stage: str, error: TransientError) -> None:
    """Log an error that is retried; the flow logs that of the last attempt as the error of the stage."""
    context = TaskRunContext.get()
    attempts = context.task_run.run_count if context else 0
    if attempts <= len(RETRY_SECONDS):
        logs.logger(stage).warning("%s; retry in %d s", error, RETRY_SECONDS[max(attempts, 1) - 1])
        logs.logger(stage).debug("retry: attempt %d of %d failed", max(attempts, 1), len(RETRY_SECONDS) + 1)


async def _is_transient(_: Task[..., Any], __: TaskRun, state: State[Any]) -> bool:
    return state.name == _TRANSIENT
