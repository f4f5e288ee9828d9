"""Puts what an evaluation found of each version where the exporter reads it: a record for each, which is replaced."""

from __future__ import annotations

from typing import Any

from ai_workflow.config.settings import ConfigModel, Settings
from ai_workflow.errors import StoreError
from ai_workflow.quality.performance import PerformanceWindow
from ai_workflow.registry.registry import Registry
from ai_workflow.stage_names import stage
from ai_workflow.storage.store import Store
from ai_workflow.telemetry import trace_context
from ai_workflow.telemetry.logs import logger

FOLDER = "evaluations"
log = logger("evaluation_store")


class Evaluated(ConfigModel):
    """Whose versions were evaluated."""

    pipeline: str
    task: str
    folder: str

    @classmethod
    def of(cls, settings: Settings) -> Evaluated:
        """Return what the settings say."""
        return cls(pipeline=settings.pipeline, task=settings.task, folder=settings.models)


@stage("evaluation_store")
def keep(
    store: Store, joined: dict[str, Any], drifted: dict[str, Any], evaluated: Evaluated, moment: float
) -> dict[str, Any]:
    """Write `evaluations/<pipeline>/<version>.json` for each version there is, and remove those of versions gone.

    What is counted in all never falls, so that it can be read as a counter: where labels are corrected, `correct_total`
    stands still until as many more are correct.

    Raises:
        StoreError: a record cannot be written; those before it are.
    """
    folder, versions = f"{FOLDER}/{evaluated.pipeline}", Registry(store, evaluated.folder).versions()
    refs, labeled = [], 0
    for version in versions:
        path = f"{folder}/{version}.json"
        found = joined["standings"].get(version) or PerformanceWindow(1, None, None).describe(1, moment)
        before = _before(store, path)
        body = {
            "pipeline": evaluated.pipeline,
            "model_version": version,
            "task": evaluated.task,
            **found,
            **{name: max(found[name], before.get(name, 0)) for name in ("labeled_total", "correct_total")},
            "drift": drifted["drift"].get(version),
            "evaluated": moment,
            "trace_id": trace_context.current(),
        }
        refs.append(store.write_record(path, body).to_json())
        labeled += bool(found["labeled_total"])
    for name in store.names(folder):
        if name.removesuffix(".json") not in versions:
            store.remove(f"{folder}/{name}")
    message = f"{len(versions)} versions evaluated, {labeled} of them by labels"
    log.info(message)
    return {"files": refs, "versions": len(versions), "message": message}


def _before(store: Store, path: str) -> dict[str, Any]:
    try:
        found: dict[str, Any] = store.read_record(path) if store.exists(path) else {}
    except StoreError as error:
        log.warning("%s; it is written anew", error)
        return {}
    return found
