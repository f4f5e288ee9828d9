"""Pool of served model versions: follows the registry's aliases, and adds a version once its golden rows succeed."""

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

# Pause before a failed version is loaded again: a multiple of the duration of the attempt, within these bounds.
_MIN_PAUSE_SECONDS, _PAUSE_FACTOR, _MAX_PAUSE_SECONDS = 1.0, 10, 60.0
# Limit of time in which a version that is removed completes its requests.
_DRAIN_SECONDS = 10.0
_DRAIN_POLL_SECONDS = 0.05
# Limit of characters of the reason in a response.
_REASON_LENGTH = 200
log = logger("serving")


@dataclass(slots=True)
class LoadFailure:
    """Reason why a version could not be loaded, and when the next attempt is due (monotonic seconds)."""

    problem: str
    retry_at: float


class ModelPool:
    """Served versions; `chain` follows the aliases: call `refresh` once, then `watch`, then `close`.

    Args:
        registry: the registry of the pipeline.
        create: returns the served model of a loaded version.
        poll_seconds: seconds between two reads of the aliases.
        request_metrics: the metrics of requests by version.
        unseen: the counters of unseen categories by version.
    """

    def __init__(
        self,
        registry: Registry,
        create: Callable[[loaded_model.LoadedModel], ServedModel],
        poll_seconds: float,
        request_metrics: RequestMetrics,
        unseen: UnseenCategories,
    ) -> None:
        self._registry, self._create, self._poll_seconds = registry, create, poll_seconds
        self._request_metrics, self._unseen = request_metrics, unseen
        self._pipeline = request_metrics.pipeline
        self.chain = FallbackChain(absent=UNPUBLISHED)
        self._aliases: dict[str, str | None] = {}
        self._failures: dict[str, LoadFailure] = {}
        self._registry_problem: str | None = None
        self._draining: set[asyncio.Task[None]] = set()
        self._lock = asyncio.Lock()

    @property
    def aliases(self) -> dict[str, str | None]:
        """The version of each alias when the aliases were last read."""
        return dict(self._aliases)

    def find(self, name: str) -> ServedModel | None:
        """Return a loaded version by its name or an alias."""
        return self.chain.find(self._aliases.get(name) or name)

    async def watch(self) -> None:
        """Follow the aliases until cancelled; failures leave the chain as it is."""
        while True:
            await asyncio.sleep(self._poll_seconds)
            await self.refresh()

    async def refresh(self, *, retry_failed: bool = False) -> None:
        """Read the aliases, and load and remove versions accordingly.

        Args:
            retry_failed: load versions that failed again at once, without the pause.
        """
        async with self._lock:
            if retry_failed:
                self._failures.clear()
            if not await self._read_aliases():
                return
            names = fallback.order("latest", self._aliases) if self._aliases["latest"] else ()
            for name in [name for name in self._failures if name not in names]:
                del self._failures[name]
                metrics.remove_labels("model_load_failures_total", self._pipeline, name)
                if self.chain.find(name) is None:
                    self._request_metrics.forget(name)
            for name in names:
                if self.chain.find(name) is None:
                    await self._load(name)
            self._reorder(names)

    async def _read_aliases(self) -> bool:
        """Read the aliases and return whether that succeeded.

        If not, the loaded versions stay. A failure is logged once: as an ERROR if no version is loaded, else as a
        WARNING.
        """
        try:
            # In a thread, because the file may be on a network.
            aliases = await asyncio.to_thread(self._registry.aliases)
            # All versions are never unpublished at once: the folder of the registry was moved away.
            problem = "it has no versions any more" if self.chain.models and not aliases["latest"] else None
        except Exception as error:  # a store may raise any exception
            problem = str(error) or type(error).__name__
        if problem is not None:
            metrics.get("model_registry_failures_total").inc()
            if problem != self._registry_problem:
                report = log.warning if self.chain.models else log.error
                report("the registry cannot be read, the loaded versions go on serving: %s", problem)
        else:
            if self._registry_problem is not None:
                log.info("the registry can be read again")
            self._aliases = aliases
        self._registry_problem = problem
        return problem is None

    async def _load(self, name: str) -> None:
        """Load a version and append it to the chain; the other versions serve meanwhile."""
        failure, started_at = self._failures.get(name), time.monotonic()
        if failure is not None and started_at < failure.retry_at:
            return
        model: ServedModel | None = None
        try:
            model = self._create(await asyncio.to_thread(loaded_model.load, self._registry, name))
            # Only the start of a worker counts towards the pause: reading and verifying the files is cheap.
            started_at = time.monotonic()
            await model.start()
        except Exception as error:  # a damaged version may raise any exception, and the others go on serving
            if model is not None:
                model.close()
                model.attempts.forget()
            self._record_failure(name, error, time.monotonic() - started_at if model is not None else 0.0)
            return
        except BaseException:
            if model is not None:
                model.close()
            raise
        self._failures.pop(name, None)
        metrics.get("model_loaded_timestamp_seconds").labels(self._pipeline, name).set_to_current_time()
        self._request_metrics.initialize(name)
        self._unseen.initialize(name, model.loaded.encoder)
        log.info("%s is loaded, its golden rows succeeded", name)
        self.chain = FallbackChain((*self.chain.models, model), self.chain.absent, self.chain.missing)

    def _record_failure(self, name: str, error: Exception, seconds: float) -> None:
        previous = self._failures.get(name)
        problem = str(error) or type(error).__name__
        pause = min(max(_MIN_PAUSE_SECONDS, _PAUSE_FACTOR * seconds), _MAX_PAUSE_SECONDS)
        self._failures[name] = LoadFailure(problem, time.monotonic() + pause)
        metrics.get("model_load_failures_total").labels(self._pipeline, name).inc()
        if previous is None or previous.problem != problem:
            log.error("%s is not served: %s", name, problem)

    def _reorder(self, names: tuple[str, ...]) -> None:
        """Put the loaded versions in the order of `names`, and remove the others."""
        by_name = {model.name: model for model in self.chain.models}
        before = tuple(by_name)
        absent: AttemptFailure | None = None
        if not names:
            absent = UNPUBLISHED
        elif names[0] not in by_name:
            absent = self._not_loaded(names[0])
        missing = tuple(self._not_loaded(name) for name in names[1:] if name not in by_name)
        order = [name for name in names if name in by_name]
        # The previous first version serves until the new one is loaded.
        if absent and names and before and before[0] not in order:
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
        self._update_info_metric()

    def _not_loaded(self, name: str) -> AttemptFailure:
        """Return why a version is not loaded, without paths of this machine, because clients read it."""
        failure = self._failures.get(name)
        folder = self._registry.store.url(f"{self._registry.folder}/{name}")
        problem = " ".join(failure.problem.replace(f"{folder}/", "").split()) if failure else ""
        reason = problem if len(problem) <= _REASON_LENGTH else f"{problem[:_REASON_LENGTH]}…"
        return AttemptFailure(name, NOT_LOADED, text=f"{name}: {NOT_LOADED}" + (f" ({reason})" if reason else ""))

    def _update_info_metric(self) -> None:
        info = metrics.get("model_info")
        info.clear()
        for model in self.chain.models:
            for alias in [alias for alias, name in self._aliases.items() if name == model.name] or ["none"]:
                info.labels(self._pipeline, model.name, alias).set(1)

    async def _retire(self, model: ServedModel) -> None:
        """Wait until a version has completed its requests, then stop its worker."""
        deadline = time.monotonic() + _DRAIN_SECONDS
        while model.pending_requests and time.monotonic() < deadline:
            await asyncio.sleep(_DRAIN_POLL_SECONDS)
        model.close()
        async with self._lock:
            # The same version may have been loaded again meanwhile.
            if self.chain.find(model.name) is None:
                model.attempts.forget()
                for name in ("model_loaded_timestamp_seconds", "model_load_failures_total"):
                    metrics.remove_labels(name, self._pipeline, model.name)
                self._request_metrics.forget(model.name)
                self._unseen.forget(model.name)

    async def close(self) -> None:
        """Stop all workers."""
        for task in [*self._draining]:
            task.cancel()
        for model in self.chain.models:
            model.close()
        self.chain = FallbackChain(absent=AttemptFailure("", "retired", text="the service is shutting down"))
        await asyncio.gather(*self._draining, return_exceptions=True)
