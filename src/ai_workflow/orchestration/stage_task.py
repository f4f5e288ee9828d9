"""A stage as a Prefect task: its content-based cache key, its retries and its errors."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from functools import cache
from typing import Any

from prefect import Task, task
from prefect.cache_policies import CacheKeyFnPolicy
from prefect.client.schemas.objects import State, TaskRun
from prefect.context import TaskRunContext
from prefect.states import Crashed, Failed
from pydantic import BaseModel

from ai_workflow.datasets import fingerprint
from ai_workflow.errors import AiWorkflowError, RunCancelledError, RunInterruptedError, TransientError
from ai_workflow.orchestration import cancelled_runs, result_cache
from ai_workflow.orchestration.stage_progress import StageProgress
from ai_workflow.runtime import memory_pressure, process_limit
from ai_workflow.stage_names import name_of
from ai_workflow.telemetry import logs

RETRY_SECONDS = (1, 5)
_TRANSIENT = "Transient"
Result = Mapping[str, Any]


class StageErrors:
    """The exception path of one stage: from its task through a Prefect state to the flow, logged once.

    An error of the package leaves the task as a state and not as an exception, because Prefect would log a traceback
    and could not distinguish transient from permanent errors. The error object is kept beside the state, because a
    state holds its text only; the flow raises it again.
    """

    def __init__(self, stage: str) -> None:
        self.stage = stage
        self._error: AiWorkflowError | None = None

    def clear(self) -> None:
        """Drop the error of the previous attempt."""
        self._error = None

    def to_state(self, error: AiWorkflowError) -> State[Any]:
        """Keep the error of an attempt, and return the state in which the attempt ends."""
        self._error = error
        if isinstance(error, RunInterruptedError):
            return Crashed(message=str(error))
        if isinstance(error, TransientError):
            self._log_retry(error)
            return Failed(name=_TRANSIENT, message=str(error))
        return Failed(message=str(error))

    def raise_last(self, state: State[Any]) -> None:
        """Raise the error of the last attempt unless the task completed, for example from the cache."""
        if self._error is not None and not state.is_completed():
            raise self._error

    @contextlib.asynccontextmanager
    async def logged(self) -> AsyncIterator[None]:
        """Log the error that ends the stage, and raise it with the stage name; `Cancelled` for a cancelled run."""
        try:
            with process_limit.limit_errors_wrapped(), memory_pressure.memory_errors_wrapped():
                yield
        except AiWorkflowError as error:
            cause = await cancelled_runs.of(error)
            cause.stage = self.stage
            level = logging.WARNING if isinstance(cause, RunCancelledError) else logging.ERROR
            logs.logger(self.stage).log(level, "%s", cause)
            if cause is error:
                raise
            raise cause from error

    def _log_retry(self, error: TransientError) -> None:
        """Warn of an error that a retry follows; the error of the last attempt is logged by `logged`."""
        context = TaskRunContext.get()
        attempts = context.task_run.run_count if context else 0
        if attempts <= len(RETRY_SECONDS):
            log = logs.logger(self.stage)
            log.warning("%s; retry in %d s", error, RETRY_SECONDS[max(attempts, 1) - 1])
            log.debug("retry: attempt %d of %d failed", max(attempts, 1), len(RETRY_SECONDS) + 1)


class Attempt:
    """The work of a stage and the path of its errors, opaque to Prefect."""

    def __init__(self, work: Callable[[], Result], errors: StageErrors) -> None:
        self.work = work
        self.errors = errors


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
    """Run the work in a thread, so that the event loop handles heartbeats and signals meanwhile."""
    attempt.errors.clear()
    try:
        with StageProgress(attempt.errors.stage), process_limit.limit_errors_wrapped():
            return result_cache.sealed(await asyncio.to_thread(memory_pressure.wrap_memory_error, attempt.work))
    except AiWorkflowError as error:
        result_cache.disable_caching()
        return attempt.errors.to_state(error)


async def _is_transient(_: Task[..., Any], __: TaskRun, state: State[Any]) -> bool:
    return state.name == _TRANSIENT
