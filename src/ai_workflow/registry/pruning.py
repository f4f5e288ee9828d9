"""Deletes versions that nobody needs: by a plan, which is made anew at the moment of deletion."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from ai_workflow.config.settings import Retention
from ai_workflow.errors import AiWorkflowError, StoreError
from ai_workflow.registry import retention_policy
from ai_workflow.registry.change_log import State
from ai_workflow.registry.leases import Lease
from ai_workflow.registry.registry import Registry
from ai_workflow.registry.retention_policy import Fact, Item


@dataclass(frozen=True, slots=True)
class Pruned:
    """What was deleted, and what was to be and is in use now."""

    deleted: tuple[Item, ...]
    spared: tuple[Item, ...]

    @property
    def bytes(self) -> int:
        """How much space is free now."""
        return sum(item.bytes for item in self.deleted)


def plan(registry: Registry, policy: Retention, *, watch: bool = False) -> list[Item]:
    """Return what would become of each version now, the oldest first.

    Args:
        registry: whose versions.
        policy: what stays.
        watch: look closely at leases that seem silent, which takes a while; else they count.
    """
    in_use = _in_use(registry.state(), registry.leases.holders(watch=watch))
    return retention_policy.plan(_facts(registry), policy, in_use, datetime.now(UTC))


def prune(registry: Registry, policy: Retention, approved: Iterable[str], reason: str) -> Pruned:
    """Delete those of the approved versions that nobody needs at this moment.

    Raises:
        StoreError: the history cannot be written; nothing is deleted.
    """
    wanted = set(approved)
    # Silent leases are watched before the lock is taken: nobody should wait for that.
    registry.leases.holders(watch=True)
    with registry.locked():
        items = {item.name: item for item in plan(registry, policy) if item.name in wanted}
        doomed = _told(registry, [name for name, item in items.items() if not item.kept], reason)
        registry.remove(doomed)
    after = {item.name: item for item in plan(registry, policy)}
    gone = tuple(items[name] for name in doomed)
    return Pruned(gone, tuple(after.get(name, item) for name, item in items.items() if item not in gone))


def pin(registry: Registry, name: str, reason: str) -> str:
    """Keep a version until it is unpinned, and return its name.

    Raises:
        AiWorkflowError: there is no such version.
    """
    with registry.locked():
        version = registry.get(name).name
        registry.change(
            lambda state: {
                "action": "pin",
                "reason": reason,
                "versions": [version],
                "pins": {**state.pins, version: reason},
            }
        )
    return version


def unpin(registry: Registry, name: str, reason: str) -> str:
    """Let a version go when its time comes, and return its name.

    Raises:
        AiWorkflowError: it is not pinned.
    """
    with registry.locked():
        pins = registry.state().pins
        version = registry.aliases().get(name) or name
        if version not in pins:
            raise AiWorkflowError(f"{name} is not pinned; pinned are: {', '.join(pins) or 'none'}")
        registry.change(
            lambda state: {
                "action": "unpin",
                "reason": reason,
                "versions": [version],
                "pins": {pinned: why for pinned, why in state.pins.items() if pinned != version},
            }
        )
    return version


def _told(registry: Registry, names: list[str], reason: str) -> list[str]:
    """Tell the history that versions are deleted, and return those that still are, once all leases are seen."""
    if not names:
        return []

    def delete(state: State) -> dict[str, Any] | None:
        free = [name for name in names if name not in {*state.aliases.values(), *state.pins}]
        return {"action": "delete", "reason": reason, "versions": free, "deleting": free} if free else None

    doomed = [name for name in registry.change(delete).deleting if name in names]
    leased = registry.leases.holders()
    if late := [name for name in doomed if name in leased]:
        # On an object store a lease may have come in between; its holder looks whether the version is still there.
        doomed = [name for name in doomed if name not in late]
        why = f"leased by {leased[late[0]][0]}"
        registry.change(lambda _: {"action": "keep", "reason": why, "versions": late, "deleting": doomed})
    return doomed


def _facts(registry: Registry) -> list[Fact]:
    facts = []
    for name in registry.versions():
        try:
            manifest = registry.get(name).manifest
            moment = datetime.fromisoformat(manifest["published"])
            facts.append(Fact(name, sum(file["bytes"] for file in manifest["files"].values()), moment))
        except StoreError:
            # Damaged, it can serve nobody; what it was is told by the history.
            facts.append(Fact(name, 0, datetime.fromtimestamp(0, UTC)))
        except AiWorkflowError:
            # Deleted by somebody else since they were listed.
            continue
    return facts


def _in_use(state: State, leases: dict[str, list[Lease]]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for alias, name in state.aliases.items():
        if name:
            found.setdefault(name, []).append(alias)
    for name, why in state.pins.items():
        found.setdefault(name, []).append(f"pinned: {why}")
    for name, held in leases.items():
        found.setdefault(name, []).extend(f"leased: {lease}" for lease in held)
    return found
