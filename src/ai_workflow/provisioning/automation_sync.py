"""Sync of Prefect automations. Unchanged ones are not written, because an update resets the state of their triggers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from prefect.client.orchestration import PrefectClient
from prefect.events.schemas.automations import AutomationCore, EventTrigger
from prefect.events.schemas.events import ResourceSpecification

from ai_workflow.provisioning import automations
from ai_workflow.provisioning.orphans import Orphans

# Fields that the server or an operator sets.
_IGNORED_FIELDS = {"id", "created", "updated", "owner_resource", "enabled"}


async def apply(client: PrefectClient, declared: Sequence[AutomationCore]) -> list[str]:
    """Create or update automations that differ, and return the changes; `enabled` of existing ones is kept."""
    existing = {automation.name: automation for automation in await client.read_automations()}
    changes = []
    for automation in declared:
        current = existing.get(automation.name)
        if current is None:
            await client.create_automation(automation)
            changes.append(f"automation {automation.name}: made")
        elif comparable(current) != comparable(automation):
            # Prefect sends only fields that were set, and would omit the types of actions; a dump sets all of them.
            fields = {**automation.model_dump(exclude={"owner_resource"}), "enabled": current.enabled}
            await client.update_automation(current.id, AutomationCore.model_validate(fields))
            changes.append(f"automation {automation.name}: changed" + ("" if current.enabled else ", still disabled"))
    return changes


async def orphans(client: PrefectClient, declared: Sequence[AutomationCore], label: str) -> Orphans:
    """Return the automations with the prefix of an owner that are not declared."""
    names = {automation.name for automation in declared}
    ids = {
        f"automation {automation.name}": automation.id
        for automation in await client.read_automations()
        if automation.name.startswith(automations.prefix(label)) and automation.name not in names
    }
    return Orphans(ids, client.delete_automation)


async def narrow(client: PrefectClient, label: str, event_labels: Mapping[str, str]) -> list[str]:
    """Let the automations of the first owner react to its own events only, and return the changes.

    As long as the server has one owner, they react to all events of their kind, also to those without labels.
    """
    changes = []
    for automation in await client.read_automations():
        trigger = automation.trigger
        if not automation.name.startswith(automations.prefix(label)) or not isinstance(trigger, EventTrigger):
            continue
        match = ResourceSpecification.model_validate(dict(event_labels))
        if automations.is_of_project(trigger) and trigger.match != match:
            own = trigger.model_copy(update={"match": match})
            fields = automation.model_dump(exclude={"owner_resource", "trigger"})
            core = AutomationCore.model_validate({**fields, "trigger": own.model_dump()})
            await client.update_automation(automation.id, core)
            changes.append(f"automation {automation.name}: changed, to events of its environment")
    return changes


def comparable(automation: AutomationCore) -> Any:
    """Return the content of an automation in a form for comparison."""
    return _plain(automation.model_dump(mode="json", exclude=_IGNORED_FIELDS))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items() if key != "id" and item not in (None, [], {}, "")}
    if isinstance(value, list):
        items = [_plain(item) for item in value]
        return sorted(items) if all(isinstance(item, str) for item in items) else items
    return value
