"""Plan of a retention run: stored until it is answered, then applied to unchanged items.

retention/<flow run id>.json    versions and old files to delete, and the deadline of the answer
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from ai_workflow.config.settings import Retention
from ai_workflow.errors import StoreError
from ai_workflow.registry import expired_files, pruning
from ai_workflow.registry.expired_files import ExpiredFiles
from ai_workflow.registry.registry import Registry
from ai_workflow.registry.retention_policy import RetentionDecision, size
from ai_workflow.storage.store import Store
from ai_workflow.telemetry.logs import logger

FOLDER = "retention"
log = logger("retention")


@dataclass(frozen=True, slots=True)
class RetentionPlan:
    """The deletions that a person approves or refuses.

    Args:
        models: folder of the registry.
        key: unique key of the plan.
        until: end of the time to answer.
        versions: the versions to delete.
        expired: the groups of expired files to delete; their lists of files are not stored.
    """

    models: str
    key: str
    until: datetime
    versions: Sequence[RetentionDecision] = ()
    expired: Sequence[ExpiredFiles] = ()

    @property
    def question(self) -> str:
        """The question in one sentence."""
        total = size(sum(version.bytes for version in self.versions) + sum(group.bytes for group in self.expired))
        names = ", ".join(version.name for version in self.versions) or "none"
        versions, files = _counted(len(self.versions), "version"), _counted(len(self.expired), "old file")
        return f"Delete {versions} ({names}) and {files}, {total}?"


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


@dataclass(frozen=True, slots=True)
class DeletionResult:
    """The deleted versions by name, and the total number of deleted bytes."""

    versions: tuple[str, ...]
    bytes: int


def carry_out(plan: RetentionPlan, registry: Registry, policy: Retention, reason: str) -> DeletionResult:
    """Delete the content of a plan, unless it is in use or has changed; a log line names each version that stays.

    Raises:
        StoreError: the change log cannot be written; nothing is deleted.
    """
    published = {decision.name: decision.published for decision in pruning.plan(registry, policy)}
    unchanged = [version.name for version in plan.versions if published.get(version.name) == version.published]
    pruned = pruning.prune(registry, policy, unchanged, reason)
    deleted = tuple(version.name for version in pruned.deleted)
    skipped = {version.name: ", ".join(version.reasons) for version in pruned.skipped}
    for version in plan.versions:
        if version.name in skipped:
            log.info("%s stays: %s", version.name, skipped[version.name])
        elif version.name in published and version.name not in unchanged:
            log.info("%s stays: it was published again after the plan was made", version.name)
        elif version.name not in deleted:
            log.info("%s does not exist any more", version.name)
    freed = expired_files.remove(registry.store, plan.expired, policy, datetime.now(UTC))
    return DeletionResult(deleted, pruned.bytes + freed)


def write(store: Store, run_id: str, plan: RetentionPlan) -> None:
    """Store the plan of a flow run.

    Raises:
        StoreError: it cannot be written.
    """
    store.write_record(_path(run_id), _to_json(plan))


def read(store: Store, run_id: str) -> RetentionPlan | None:
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
    """Return the IDs of the flow runs that have a plan."""
    return [name.removesuffix(".json") for name in store.names(FOLDER) if name.endswith(".json")]


def _path(run_id: str) -> str:
    return f"{FOLDER}/{run_id}.json"


def _to_json(plan: RetentionPlan) -> dict[str, Any]:
    return {
        "models": plan.models,
        "key": plan.key,
        "until": plan.until.isoformat(),
        "versions": [
            {"name": version.name, "bytes": version.bytes, "published": version.published.isoformat()}
            for version in plan.versions
        ],
        "old": [
            {"kind": group.kind, "path": group.path, "bytes": group.bytes, "modified": group.modified.isoformat()}
            for group in plan.expired
        ],
    }


def _from_json(body: dict[str, Any]) -> RetentionPlan:
    versions = [
        RetentionDecision(version["name"], version["bytes"], datetime.fromisoformat(version["published"]), ())
        for version in body["versions"]
    ]
    expired = [
        ExpiredFiles(group["kind"], group["path"], group["bytes"], datetime.fromisoformat(group["modified"]))
        for group in body["old"]
    ]
    return RetentionPlan(body["models"], body["key"], datetime.fromisoformat(body["until"]), versions, expired)
