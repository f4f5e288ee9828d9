"""The plan of a retention run: kept in the store until a person has answered, then carried out as far as it holds.

retention/<flow run id>.json    versions and old files to delete, and until when an answer counts
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from ai_workflow.config.settings import Retention
from ai_workflow.errors import StoreError
from ai_workflow.registry import expired_files, pruning
from ai_workflow.registry.expired_files import Old
from ai_workflow.registry.registry import Registry
from ai_workflow.registry.retention_policy import Item, size
from ai_workflow.storage.store import Store
from ai_workflow.telemetry.logs import logger

FOLDER = "retention"
log = logger("retention")


@dataclass(frozen=True, slots=True)
class Plan:
    """What a person approves or refuses.

    Args:
        models: folder of the registry.
        key: name of the question; another plan has another one.
        until: when an answer comes too late.
        versions: the versions to delete.
        old: the groups of old files to delete; their lists of files are not kept.
    """

    models: str
    key: str
    until: datetime
    versions: Sequence[Item] = ()
    old: Sequence[Old] = ()

    @property
    def question(self) -> str:
        """The question in one sentence."""
        total = size(sum(item.bytes for item in self.versions) + sum(group.bytes for group in self.old))
        names = ", ".join(item.name for item in self.versions) or "none"
        versions, files = _counted(len(self.versions), "version"), _counted(len(self.old), "old file")
        return f"Delete {versions} ({names}) and {files}, {total}?"


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


@dataclass(frozen=True, slots=True)
class Released:
    """What was deleted: versions by name, and the bytes of all that was."""

    versions: tuple[str, ...]
    bytes: int


def carry_out(plan: Plan, registry: Registry, policy: Retention, reason: str) -> Released:
    """Delete what a plan names, unless it is in use or has changed; a log line names each version that stays.

    Raises:
        StoreError: the history cannot be written; nothing is deleted.
    """
    there = {item.name: item for item in pruning.plan(registry, policy)}
    same = [item.name for item in plan.versions if item.name in there and there[item.name].published == item.published]
    done = pruning.prune(registry, policy, same, reason)
    deleted = tuple(item.name for item in done.deleted)
    spared = {item.name: ", ".join(item.reasons) for item in done.spared}
    for item in plan.versions:
        if item.name in spared:
            log.info("%s stays: %s", item.name, spared[item.name])
        elif item.name in there and item.name not in same:
            log.info("%s stays: it was published again after the plan was made", item.name)
        elif item.name not in deleted:
            log.info("%s does not exist any more", item.name)
    freed = expired_files.remove(registry.store, plan.old, policy, datetime.now(UTC))
    return Released(deleted, done.bytes + freed)


def write(store: Store, run_id: str, plan: Plan) -> None:
    """Keep the plan of a flow run.

    Raises:
        StoreError: it cannot be written.
    """
    store.write_record(_path(run_id), _to_json(plan))


def read(store: Store, run_id: str) -> Plan | None:
    """Return the plan of a flow run, or None if it has none.

    Raises:
        StoreError: the plan is damaged.
    """
    path = _path(run_id)
    if not store.exists(path):
        return None
    body = store.read_record(path)
    try:
        return _from_json(body)
    except (KeyError, TypeError, ValueError) as error:
        raise StoreError(f"{store.url(path)} is not a plan of this release: {error!r}") from error


def forget(store: Store, run_id: str) -> None:
    """Remove the plan of a flow run, if it has one."""
    store.remove(_path(run_id))


def run_ids(store: Store) -> list[str]:
    """Return the ids of the flow runs that have a plan."""
    return [name.removesuffix(".json") for name in store.names(FOLDER) if name.endswith(".json")]


def _path(run_id: str) -> str:
    return f"{FOLDER}/{run_id}.json"


def _to_json(plan: Plan) -> dict[str, Any]:
    return {
        "models": plan.models,
        "key": plan.key,
        "until": plan.until.isoformat(),
        "versions": [
            {"name": item.name, "bytes": item.bytes, "published": item.published.isoformat()} for item in plan.versions
        ],
        "old": [
            {"kind": group.kind, "path": group.path, "bytes": group.bytes, "modified": group.modified.isoformat()}
            for group in plan.old
        ],
    }


def _from_json(body: dict[str, Any]) -> Plan:
    versions = [
        Item(found["name"], found["bytes"], datetime.fromisoformat(found["published"]), ())
        for found in body["versions"]
    ]
    old = [
        Old(found["kind"], found["path"], found["bytes"], datetime.fromisoformat(found["modified"]))
        for found in body["old"]
    ]
    return Plan(body["models"], body["key"], datetime.fromisoformat(body["until"]), versions, old)
