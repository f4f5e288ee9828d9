"""One run of a pipeline under Prefect: every stage is a cached, verified, journaled and traced task."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, TypeVar, TypeVarTuple, overload

from prefect.artifacts import acreate_link_artifact, acreate_markdown_artifact
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Crashed, Failed

from ai_workflow.config.settings import Settings
from ai_workflow.errors import AiWorkflowError, RunInterruptedError
from ai_workflow.orchestration import (
    artifacts,
    refused_runs,
    result_cache,
    run_logs,
    stage_task,
)
from ai_workflow.orchestration.flow_request import FlowRequest
from ai_workflow.orchestration.flow_result import FlowOutcome, FlowResult
from ai_workflow.orchestration.recovery import run_ownership
from ai_workflow.orchestration.signals import GracefulStop
from ai_workflow.orchestration.stage_task import Attempt, Result, StageErrors
from ai_workflow.runtime import memory_pressure, partition_threads, process_limit
from ai_workflow.runtime.cancellation import check
from ai_workflow.stage_names import name_of
from ai_workflow.storage.store import Store
from ai_workflow.telemetry import dashboard_urls, instrumentation, journal, logs, trace_context

# Result of a stage, its last argument, and the arguments before it.
R = TypeVar("R", bound=Result)
Last = TypeVar("Last")
Args = TypeVarTuple("Args")
log = logs.logger("flow")


class PipelineRun:
    """Settings, store and trace of one run; `stage` runs a stage in it."""

    def __init__(self, flow: str, settings: Settings, trace_id: str) -> None:
        self.settings = settings
        self.store = Store(settings.store.root)
        self.trace_id, self._flow = trace_id, flow
        self._journal = journal.Journal(self.store)
        self._visit = partial(
            instrumentation.StageExecution, trace_id, settings.pipeline, flow, flow_run_id=flow_run.id
        )
        self._observers = (
            instrumentation.JournalObserver(self._journal),
            instrumentation.MetricsObserver(),
            instrumentation.DebugLogObserver(),
        )
        # Results of earlier stages with their task states, which become the edges of later tasks.
        self._results: list[tuple[Result, State[Any]]] = []

    @overload
    async def stage(
        self, work: Callable[[Store, *Args], R], *args: *Args, loads: tuple[str, ...] = (), **unkeyed: Any
    ) -> R: ...

    @overload
    async def stage(
        self,
        work: Callable[[Store, *Args, Last], R],
        *args: *Args,
        inputs: Callable[[], Last],
        loads: tuple[str, ...] = (),
        **unkeyed: Any,
    ) -> R: ...

    # mypy rejects any implementation of overloads that have a TypeVarTuple.
    async def stage(  # type: ignore[misc]
        self,
        work: Callable[..., R],
        *args: Any,
        inputs: Callable[[], Any] | None = None,
        loads: tuple[str, ...] = (),
        **unkeyed: Any,
    ) -> R:
        """Run a stage function as a Prefect task, or return its cached result if all its files are as recorded.

        Args:
            work: the function of a stage, with a name by `@stage`; it is called as `work(store, *args, **unkeyed)`.
            args: options and results of earlier stages; with the code they are the cache key.
            inputs: returns one more argument; it is called within the stage, so that its failure is the stage's.
            loads: full names of the modules that the function loads by name; their code is in the cache key too.
            unkeyed: keyword arguments that do not change the result, such as where to fetch secrets.

        Raises:
            AiWorkflowError: the stage failed; log and journal have the error.
        """
        name = name_of(work)
        errors = StageErrors(name)
        with instrumentation.stage(self._visit(name), self._observers) as visit:
            async with errors.logged():
                check()
                if inputs is not None:
                    args = (*args, await asyncio.to_thread(inputs))
                threads = self.settings.engine.threads
                attempt = Attempt(partial(partition_threads.call, threads, work, self.store, *args, **unkeyed), errors)
                state = await self._run(attempt, stage_task.key(work, args, loads), args)
            result: R = await state.aresult()
            self._results.append((result, state))
            visit.status = journal.SUCCESS if result.get("resumed_from") is None else journal.RESUMED
            visit.status = journal.CACHED if state.name == "Cached" else visit.status
            visit.message, visit.numbers = result["message"], journal.numbers_of(result)
            visit.model_version = result.get("version")
        return result

    async def _run(self, attempt: Attempt, key: str, args: tuple[Any, ...]) -> State[Any]:
        stage = attempt.errors.stage
        task = stage_task.of(stage)
        fresh = task.with_options(refresh_cache=await result_cache.is_damaged(self.store, task, key))
        earlier = [state for result, state in self._results if any(arg is result for arg in args)]
        state: State[Any] = await fresh(key, attempt, return_state=True, wait_for=earlier)
        logs.logger(stage).debug("cache %s: cache key %s", "hit" if state.name == "Cached" else "miss", key)
        attempt.errors.raise_last(state)
        return state

    def _warnings(self) -> list[str]:
        """Return the warnings in the results of the stages, cached ones too."""
        return list(dict.fromkeys(text for result, _ in self._results for text in result.get("warnings", ())))

    async def skip(self, name: str, reason: str) -> None:
        """Record that a stage is skipped, with the reason."""
        with instrumentation.stage(self._visit(name), self._observers) as visit:
            visit.status, visit.message = journal.SKIPPED, reason

    async def show(self, markdown: str | None = None) -> None:
        """Add artifacts to this run in the Prefect UI: trace, warnings, a text if given, a link to the dashboard."""
        key = self.settings.pipeline.replace("_", "-")
        events = self._journal.read(self.trace_id)
        creations: list[Awaitable[Any]] = [
            artifacts.create_trace(events, self.trace_id, f"{key}-{self._flow}-trace"),
        ]
        if texts := self._warnings():
            warnings = artifacts.warnings(texts)
            creations.append(
                acreate_markdown_artifact(warnings, key=f"{key}-{self._flow}-warnings", description="Warnings")
            )
        if markdown:
            creations.append(acreate_markdown_artifact(markdown, key=f"{key}-model-card", description="Model card"))
        if grafana := self.settings.monitoring.grafana_url:
            link = dashboard_urls.url(grafana, "pipelines", {"pipeline": self.settings.pipeline})
            text = f"Dashboard of {self.settings.pipeline}"
            creations.append(acreate_link_artifact(link, text, key=f"{key}-dashboard", description=text))
        for created in await asyncio.gather(*creations, return_exceptions=True):
            if isinstance(created, Exception):
                log.warning("an artifact could not be created: %s", created)


async def execute(request: FlowRequest, steps: Callable[[PipelineRun], Awaitable[FlowResult]]) -> FlowOutcome:
    """Run the steps of a flow within its trace and journal, and return its result.

    An error of the package becomes a Failed state without a traceback.
    """
    run_logs.set_up(None)
    problem, trace_id = None, _own_trace()
    try:
        trace_id = trace_context.from_traceparent(request.traceparent) if request.traceparent else trace_id
    except AiWorkflowError as error:
        problem = error
    trace_context.set_trace_of_run(str(flow_run.id), trace_id)
    with trace_context.bound(trace_id=trace_id):
        try:
            if problem is not None:
                raise problem
            run = PipelineRun(request.flow, await request.prepare(trace_id), trace_id)
            await run_ownership.claim(run.store, trace_id)
        except AiWorkflowError as error:
            return await refused_runs.refuse(request, trace_id, error)
        return await _journaled(run, steps)


async def _journaled(run: PipelineRun, steps: Callable[[PipelineRun], Awaitable[FlowResult]]) -> FlowOutcome:
    with GracefulStop() as stop:
        try:
            with (
                instrumentation.stage(run._visit(journal.RUN), run._observers[:1]) as visit,
                process_limit.limit_errors_wrapped(),
            ):
                with memory_pressure.memory_errors_wrapped():
                    result = await steps(run)
                visit.message = result.message
        except RunInterruptedError as error:
            stop.forward()
            return Crashed(message=f"{error.stage}: {error}")
        except AiWorkflowError as error:
            if error.stage is None:
                log.error("%s", error)
            await run.show()
            run_ownership.remove_at_exit(run.store)
            return Failed(message=f"{error.stage}: {error}" if error.stage else str(error))
    run_ownership.remove_at_exit(run.store)
    return result.outcome(trace_id=run.trace_id)


def _own_trace() -> str:
    from opentelemetry import trace as otel

    span = otel.get_current_span().get_span_context()
    if span.is_valid:
        return f"{span.trace_id:032x}"
    return trace_context.trace_id_of_run(flow_run.id) if flow_run.id else trace_context.new_id()
