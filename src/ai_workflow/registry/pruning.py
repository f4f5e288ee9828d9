"""Deletion of versions that are not in use, by a plan that is checked again at the time of deletion."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from ai_workflow.config.settings import Retention
from ai_workflow.errors import AiWorkflowError, StoreError
from ai_workflow.registry import retention_policy
from ai_workflow.registry.changes import Change, State
from ai_workflow.registry.leases import Lease
from ai_workflow.registry.registry import Registry
from ai_workflow.registry.retention_policy import RetentionDecision, VersionInfo


@dataclass(frozen=True, slots=True)
class PruneResult:
    """The deleted versions, and the approved ones that were skipped because they are in use now."""

    deleted: tuple[RetentionDecision, ...]
    skipped: tuple[RetentionDecision, ...]

    @property
    def bytes(self) -> int:
        """The released space."""
        return sum(decision.bytes for decision in self.deleted)


def plan(registry: Registry, policy: Retention, *, verify_heartbeats: bool = False) -> list[RetentionDecision]:
    """Return the decision about each version, the oldest first.

    Args:
        registry: the registry.
        policy: the retention policy.
        verify_heartbeats: wait for heartbeats of leases with a stale heartbeat; otherwise such leases count.
    """
    in_use = _in_use(registry.state(), registry.leases.holders(verify_heartbeats=verify_heartbeats))
    return retention_policy.plan(_versions(registry), policy, in_use, datetime.now(UTC))


def prune(registry: Registry, policy: Retention, approved: Iterable[str], reason: str) -> PruneResult:
    """Delete those of the approved versions that are still not in use.

    Raises:
        StoreError: the change log cannot be written; nothing is deleted.
    """
    names = set(approved)
    # Before the lock is taken, so that no other writer waits for heartbeats.
    registry.leases.holders(verify_heartbeats=True)
    with registry.locked():
        decisions = {decision.name: decision for decision in plan(registry, policy) if decision.name in names}
        expired = [name for name, decision in decisions.items() if not decision.is_kept]
        deleting = _record_deletion(registry, expired, reason)
        registry.remove(deleting)
    after = {decision.name: decision for decision in plan(registry, policy)}
    deleted = tuple(decisions[name] for name in deleting)
    skipped = tuple(after.get(name, decision) for name, decision in decisions.items() if decision not in deleted)
    return PruneResult(deleted, skipped)


def pin(registry: Registry, name: str, reason: str) -> str:
    """Keep a version until it is unpinned, and return its name.

    Raises:
        AiWorkflowError: there is no such version.
    """
    with registry.locked():
        version = registry.get(name).name
        registry.change(lambda state: Change("pin", reason, [version], pins={**state.pins, version: reason}))
    return version


def unpin(registry: Registry, name: str, reason: str) -> str:
    """Remove the pin of a version, and return its name.

    Raises:
        AiWorkflowError: it is not pinned.
    """
    with registry.locked():
        pins = registry.state().pins
        version = registry.aliases().get(name) or name
        if version not in pins:
            raise AiWorkflowError(f"{name} is not pinned; pinned are: {', '.join(pins) or 'none'}")
        registry.change(
            lambda state: Change(
                "unpin",
                reason,
                [version],
                pins={name: text for name, text in state.pins.items() if name != version},
            )
        )
    return version


def _record_deletion(registry: Registry, names: list[str], reason: str) -> list[str]:
    """Record the deletion of versions, and return those that are not leased afterwards."""
    if not names:
        return []

    def delete(state: State) -> Change | None:
        free = [name for name in names if name not in {*state.aliases.values(), *state.pins}]
        return Change("delete", reason, free, deleting=free) if free else None

    deleting = [name for name in registry.change(delete).deleting if name in names]
    leases = registry.leases.holders()
    if leased := [name for name in deleting if name in leases]:
        # On an object store a version may be leased meanwhile; its holder checks that the version still exists.
        deleting = [name for name in deleting if name not in leased]
        lease = leases[leased[0]][0]
        registry.change(lambda _: Change("keep", f"leased by {lease}", leased, deleting=deleting))
    return deleting


def _versions(registry: Registry) -> list[VersionInfo]:
    versions = []
    for name in registry.versions():
        try:
            manifest = registry.get(name).manifest
            published = datetime.fromisoformat(manifest["published"])
            size = sum(file["bytes"] for file in manifest["files"].values())
            versions.append(VersionInfo(name, size, published))
        except StoreError:
            # A version with a damaged manifest cannot be used.
            versions.append(VersionInfo(name, 0, datetime.fromtimestamp(0, UTC)))
        except AiWorkflowError:
            # Deleted since the versions were listed.
            continue
    return versions


def _in_use(state: State, leases: dict[str, list[Lease]]) -> dict[str, list[str]]:
    reasons: dict[str, list[str]] = {}
    for alias, name in state.aliases.items():
        if name:
            reasons.setdefault(name, []).append(alias)
    for name, reason in state.pins.items():
        reasons.setdefault(name, []).append(f"pinned: {reason}")
    for name, holders in leases.items():
        reasons.setdefault(name, []).extend(f"leased: {lease}" for lease in holders)
    return reasons
