"""The part of the service that one pipeline has for itself: models, queues, limits, logs of predictions and labels."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, NamedTuple

from ai_workflow.config.settings import Settings
from ai_workflow.errors import AiWorkflowError
from ai_workflow.inference import fallback
from ai_workflow.registry.registry import Registry
from ai_workflow.serving.app import InferenceApp
from ai_workflow.serving.attempt_metrics import AttemptMetrics
from ai_workflow.serving.auth import Authenticator
from ai_workflow.serving.endpoints import InferenceEndpoints
from ai_workflow.serving.label_endpoint import LabelEndpoint
from ai_workflow.serving.logs import label_log, prediction_log
from ai_workflow.serving.management_endpoints import ManagementEndpoints
from ai_workflow.serving.request_metrics import RequestMetrics
from ai_workflow.serving.route_guards import RouteGuards
from ai_workflow.serving.routing.loaded_model import LoadedModel
from ai_workflow.serving.routing.model_pool import ModelPool
from ai_workflow.serving.routing.served_model import ServedModel
from ai_workflow.serving.unseen_categories import UnseenCategories
from ai_workflow.storage.store import Store


class ServedPipeline(NamedTuple):
    """A pipeline to serve: its settings, and the folders of its own code (None: those that were loaded last)."""

    settings: Settings
    code_folders: tuple[str, ...] | None = None


class PipelineService:
    """Models, limits and logs of one pipeline: call `start` once in the event loop, then `close`.

    Args:
        pipeline: the pipeline.

    Raises:
        AiWorkflowError: a setting does not fit this machine.
    """

    app: InferenceApp
    management: ManagementEndpoints

    def __init__(self, pipeline: ServedPipeline) -> None:
        self.settings, self._code_folders = pipeline
        self._service = self.settings.service
        self._store = Store(self.settings.store.root)
        self._prediction_log = self._open_prediction_log()
        self._labels = self._open_label_log()

    async def start(self, authenticator: Authenticator, drain: Callable[[], None]) -> None:
        """Load the models, and create the application of the pipeline.

        Args:
            authenticator: the tokens.
            drain: starts the shutdown of the whole service.
        """
        metrics = self._request_metrics = RequestMetrics(self.settings.pipeline)
        registry = Registry(self._store, self.settings.models)
        unseen = UnseenCategories(self.settings.pipeline, metrics.exemplars)
        pool = self._pool = ModelPool(registry, self._create_model, self._service.reload_seconds, metrics, unseen)
        labels = LabelEndpoint(self.settings, self._labels, metrics, pool)
        guards = RouteGuards(authenticator)
        self.management = ManagementEndpoints(self.settings, pool, guards, labels, drain, lambda: self.app.draining)
        endpoints = InferenceEndpoints(self.settings, pool, self._prediction_log, metrics, unseen)
        self.app = InferenceApp(self._service, endpoints, authenticator, self.management.app(), metrics)
        await pool.refresh()
        if self._prediction_log is not None:
            self._prediction_log.start()

    def tasks(self) -> list[Coroutine[Any, Any, None]]:
        """Return what runs until the service ends."""
        return [self._pool.watch(), *([self._labels.watch()] if self._labels is not None else [])]

    async def close(self) -> None:
        """End the model processes, and write what the logs have in memory."""
        await self._pool.close()
        if self._prediction_log is not None:
            await asyncio.to_thread(self._prediction_log.close)
        if self._labels is not None:
            await asyncio.to_thread(self._labels.close)

    def _create_model(self, loaded: LoadedModel) -> ServedModel:
        loaded.code_folders = self._code_folders
        attempt_timeout = fallback.ATTEMPT_SHARE * self.settings.inference.deadline_ms / 1000
        attempts = AttemptMetrics(self.settings.pipeline, loaded.name, self._request_metrics.exemplars)
        return ServedModel(loaded, attempts, self._service.max_queue, attempt_timeout, self.settings.model.timeout)

    def _open_prediction_log(self) -> prediction_log.PredictionLog | None:
        options, pipeline = self._service.prediction_log, self.settings.pipeline
        if not options.enabled:
            return None
        if options.folder is not None:
            folder = Path(options.folder) / pipeline
        elif self._store.is_local:
            folder = self._store.local(f"{prediction_log.FOLDER}/{pipeline}")
        else:
            raise AiWorkflowError(
                "service.prediction_log.folder is not set: predictions need a local folder before they are moved to "
                f"{self._store.root}. Set it, or set service.prediction_log.enabled: false"
            )
        command = ["-m", "ai_workflow.serving.logs.compaction", self._store.root, str(folder), pipeline]
        return prediction_log.PredictionLog(
            folder,
            values=options.values,
            id_column=self.settings.id,
            segment_seconds=options.segment_seconds,
            compact=command,
        )

    def _open_label_log(self) -> label_log.LabelLog | None:
        options, pipeline = self._service.prediction_log, self.settings.pipeline
        folder = label_log.segment_folder(self._store, options.folder, pipeline)
        return label_log.LabelLog(self._store, folder, pipeline, options.segment_seconds) if folder else None
