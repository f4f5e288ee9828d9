"""The versions that serve: follows the registry's aliases, and swaps a new one in once it has shown that it answers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

from ai_workflow.inference import fallback
from ai_workflow.registry.registry import Registry
from ai_workflow.serving.request_metrics import RequestMetrics
from ai_workflow.serving.routing import loaded_model
from ai_workflow.serving.routing.fallback_chain import NOT_LOADED, UNPUBLISHED, AttemptFailure, FallbackChain
from ai_workflow.serving.routing.served_model import ServedModel
from ai_workflow.serving.unseen_categories import UnseenCategories
from ai_workflow.telemetry import metrics
from ai_workflow.telemetry.logs import logger

# A version that did not load is tried again, the more seldom the longer trying takes.
_PAUSE, _PAUSE_FACTOR, _LONGEST_PAUSE = 1.0, 10, 60.0
# An old version has so long to answer what it was asked.
_DRAIN_SECONDS = 10.0
_DRAIN_STEP = 0.05
# Characters of the reason in a response.
_REASON_LENGTH = 200
log = logger("serving")


@dataclass(slots=True)
class LoadFailure:
    """A version that could not be loaded: why, and when it is tried again."""

    problem: str
    again: float


class ModelPool:
    """Keeps `chain` as the aliases say: `look` once, then `watch`, then `close`.

    Args:
        registry: where the versions are.
        made: makes the model of a version that was read.
        poll: seconds between two looks at the aliases.
        request_metrics: counts requests by version.
        unseen: counts unseen categories by version.
    """

    def __init__(
        self,
        registry: Registry,
        made: Callable[[loaded_model.LoadedModel], ServedModel],
        poll: float,
        request_metrics: RequestMetrics,
        unseen: UnseenCategories,
    ) -> None:
        self._registry, self._made, self._poll, self._request_metrics = registry, made, poll, request_metrics
        self._pipeline, self._unseen = request_metrics.pipeline, unseen
        self.chain = FallbackChain(absent=UNPUBLISHED)
        self._aliases: dict[str, str | None] = {}
        self._failures: dict[str, LoadFailure] = {}
        self._unreadable: str | None = None
        self._draining: set[asyncio.Task[None]] = set()
        self._looking = asyncio.Lock()

    @property
    def aliases(self) -> dict[str, str | None]:
        """Which version each alias pointed at, when they were last seen."""
        return dict(self._aliases)

    def find(self, name: str) -> ServedModel | None:
        """Return a version that is loaded, by its name or an alias."""
        return self.chain.find(self._aliases.get(name) or name)

    async def watch(self) -> None:
        """Follow the aliases for ever; what cannot be read or loaded changes nothing."""
        while True:
            await asyncio.sleep(self._poll)
            await self.refresh()

    async def refresh(self, *, retry_failed: bool = False) -> None:
        """Compare the aliases with what serves, and change that where they differ.

        Args:
            retry_failed: try versions again at once that could not be loaded.
        """
        async with self._looking:
            if retry_failed:
                self._failures.clear()
            if not await self._read():
                return
            wanted = fallback.order("latest", self._aliases) if self._aliases["latest"] else ()
            for name in [name for name in self._failures if name not in wanted]:
                del self._failures[name]
                metrics.remove_labels("model_load_failures_total", self._pipeline, name)
                if self.chain.find(name) is None:
                    self._request_metrics.forget(name)
            for name in wanted:
                if self.chain.find(name) is None:
                    await self._load(name)
            self._swap(wanted)

    async def _read(self) -> bool:
        """Read the aliases and return whether they can be read.

        If not, the versions that are loaded go on answering. A failure is logged once: as an ERROR if no version is
        loaded, else as a WARNING.
        """
        try:
            # A small file; where it is on a network, the loop must not wait for it.
            aliases = await asyncio.to_thread(self._registry.aliases)
            # Published versions are never all taken back: somebody moved the folder away.
            problem = "it tells of no version any more" if self.chain.models and not aliases["latest"] else None
        except Exception as error:  # whatever a store makes of it
            problem = str(error) or type(error).__name__
        if problem is not None:
            metrics.get("model_registry_failures_total").inc()
            if problem != self._unreadable:
                say = log.warning if self.chain.models else log.error
                say("the registry cannot be read, and what serves goes on: %s", problem)
        else:
            if self._unreadable is not None:
                log.info("the registry can be read again")
            self._aliases = aliases
        self._unreadable = problem
        return problem is None

    async def _load(self, name: str) -> None:
        """Load a version and put it into the chain's models; the ones that serve go on meanwhile."""
        failure, began = self._failures.get(name), time.monotonic()
        if failure is not None and began < failure.again:
            return
        model: ServedModel | None = None
        try:
            model = self._made(await asyncio.to_thread(loaded_model.load, self._registry, name))
            # To read and to verify a version costs little; what is to be tried seldom is to start a process for it.
            began = time.monotonic()
            await model.start()
        except Exception as error:  # whatever a bad version makes of our code, the others serve
            if model is not None:
                model.close()
                model.attempts.forget()
            self._failed(name, error, time.monotonic() - began if model is not None else 0.0)
            return
        except BaseException:
            if model is not None:
                model.close()
            raise
        self._failures.pop(name, None)
        metrics.get("model_loaded_timestamp_seconds").labels(self._pipeline, name).set_to_current_time()
        self._request_metrics.initialize(name)
        self._unseen.initialize(name, model.loaded.encoder)
        log.info("%s is loaded, and answers its golden rows", name)
        self.chain = FallbackChain((*self.chain.models, model), self.chain.absent, self.chain.missing)

    def _failed(self, name: str, error: Exception, took: float) -> None:
        before = self._failures.get(name)
        problem = str(error) or type(error).__name__
        pause = min(max(_PAUSE, _PAUSE_FACTOR * took), _LONGEST_PAUSE)
        self._failures[name] = LoadFailure(problem, time.monotonic() + pause)
        metrics.get("model_load_failures_total").labels(self._pipeline, name).inc()
        if before is None or before.problem != problem:
            log.error("%s is not served: %s", name, problem)

    def _swap(self, wanted: tuple[str, ...]) -> None:
        """Put the loaded models in their order, and let the others go."""
        by_name = {model.name: model for model in self.chain.models}
        before = tuple(by_name)
        absent: AttemptFailure | None = None
        if not wanted:
            absent = UNPUBLISHED
        elif wanted[0] not in by_name:
            absent = self._not_loaded(wanted[0])
        missing = tuple(self._not_loaded(name) for name in wanted[1:] if name not in by_name)
        order = [name for name in wanted if name in by_name]
        # The one that was first goes on until another one can take its place.
        if absent and wanted and before and before[0] not in order:
            order.insert(0, before[0])
        self.chain = FallbackChain(tuple(by_name[name] for name in order), absent, missing)
        for name in before:
            if name not in order:
                task = asyncio.create_task(self._retire(by_name[name]))
                self._draining.add(task)
                task.add_done_callback(self._draining.discard)
        if tuple(order) != before:
            metrics.get("model_reloads_total").inc()
            log.info("serving %s", ", then ".join([*order, "the default response"]))
        self._show()

    def _not_loaded(self, name: str) -> AttemptFailure:
        """Return why a version is not among the models, without the paths of this machine: callers read it."""
        failure = self._failures.get(name)
        folder = self._registry.store.url(f"{self._registry.folder}/{name}")
        problem = " ".join(failure.problem.replace(f"{folder}/", "").split()) if failure else ""
        cut = problem if len(problem) <= _REASON_LENGTH else f"{problem[:_REASON_LENGTH]}…"
        return AttemptFailure(name, NOT_LOADED, text=f"{name}: {NOT_LOADED}" + (f" ({cut})" if cut else ""))

    def _show(self) -> None:
        info = metrics.get("model_info")
        info.clear()
        for model in self.chain.models:
            for alias in [alias for alias, name in self._aliases.items() if name == model.name] or ["none"]:
                info.labels(self._pipeline, model.name, alias).set(1)

    async def _retire(self, model: ServedModel) -> None:
        """Let a version answer what it was asked, then end its process."""
        until = time.monotonic() + _DRAIN_SECONDS
        while model.pending_requests and time.monotonic() < until:
            await asyncio.sleep(_DRAIN_STEP)
        model.close()
        async with self._looking:
            # It may have come back meanwhile, in another model.
            if self.chain.find(model.name) is None:
                model.attempts.forget()
                for name in ("model_loaded_timestamp_seconds", "model_load_failures_total"):
                    metrics.remove_labels(name, self._pipeline, model.name)
                self._request_metrics.forget(model.name)
                self._unseen.forget(model.name)

    async def close(self) -> None:
        """End all processes."""
        for task in [*self._draining]:
            task.cancel()
        for model in self.chain.models:
            model.close()
        self.chain = FallbackChain(absent=AttemptFailure("", "retired", text="the service ends"))
        await asyncio.gather(*self._draining, return_exceptions=True)
