"""Types that the latest version decided for undeclared columns, as an input of the next training."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from ai_workflow.config.settings import Column
from ai_workflow.datasets import fingerprint, partition_cache
from ai_workflow.datasets.notation.published import PublishedTypes
from ai_workflow.errors import AiWorkflowError
from ai_workflow.registry.registry import Registry
from ai_workflow.storage.store import Store
from ai_workflow.telemetry.logs import logger

if TYPE_CHECKING:
    from pydantic import BaseModel

    from ai_workflow.datasets.partitions import DatasetRecord

log = logger("preprocessor")


def of_training(store: Store, folder: str, loaded: DatasetRecord, rules: BaseModel) -> PublishedTypes:
    """Return the types for a training, which are fixed when its rows are first read.

    The record of the first call for the same rows and rules is read again by a retry, a resumed run and a repeated
    training, whichever version is the latest by then.

    Args:
        store: the store of the versions and the records.
        folder: the folder of the versions, `Settings.models`.
        loaded: the loaded rows.
        rules: the options of the training.
    """
    key = fingerprint.of("types", folder, loaded, rules)
    record = partition_cache.cached(store, "types", key, lambda _: _latest(Registry(store, folder)))
    return PublishedTypes.model_validate(record)


def _latest(registry: Registry) -> dict[str, Any]:
    """Return the types of the latest version; none if there is no version, or it has no list of undeclared columns."""
    try:
        name = registry.aliases()["latest"]
        if name is None:
            return PublishedTypes().model_dump(mode="json")
        version = registry.get(name)
        schema = json.loads(registry.read(version, "features.json"))["schema"]
        undeclared = json.loads(registry.read(version, "card.json")).get("undeclared", [])
        columns = {column: Column.model_validate(schema[column]) for column in undeclared if column in schema}
        return PublishedTypes(version=version.name, columns=columns).model_dump(mode="json")
    except (AiWorkflowError, KeyError, ValueError) as error:
        log.warning("latest cannot be read (%s): undeclared columns are typed by their values alone", error)
        return PublishedTypes().model_dump(mode="json")
