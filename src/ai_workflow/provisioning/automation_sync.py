"""Automations on a server: one is written only where it differs, as a write forgets what it has counted so far.

An automation that waits for a sign of life would never miss it after a write; so what is armed is left alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from prefect.client.orchestration import PrefectClient
from prefect.events.schemas.automations import AutomationCore

from ai_workflow.provisioning.automations import PREFIX
from ai_workflow.provisioning.orphans import Leftovers

# What the server makes up, or a person decides.
_NOT_OURS = {"id", "created", "updated", "owner_resource", "enabled"}


async def apply(client: PrefectClient, wanted: Sequence[AutomationCore]) -> list[str]:
    """Create or change what differs, and return what was done; whether one is switched on stays as it is."""
    there = {one.name: one for one in await client.read_automations()}
    done = []
    for one in wanted:
        found = there.get(one.name)
        if found is None:
            await client.create_automation(one)
            done.append(f"automation {one.name}: made")
        elif said(found) != said(one):
            # Validated from a dump, as Prefect sends only what was set, and would leave out the types of actions.
            whole = AutomationCore.model_validate(
                {**one.model_dump(exclude={"owner_resource"}), "enabled": found.enabled}
            )
            await client.update_automation(found.id, whole)
            done.append(f"automation {one.name}: changed" + ("" if found.enabled else ", and still switched off"))
    return done


async def leftovers(client: PrefectClient, wanted: Sequence[AutomationCore]) -> Leftovers:
    """Return the automations that bear this project's prefix and are not wanted."""
    names = {one.name for one in wanted}
    found = {
        f"automation {one.name}": one.id
        for one in await client.read_automations()
        if one.name.startswith(PREFIX) and one.name not in names
    }
    return Leftovers(found, client.delete_automation)


def said(automation: AutomationCore) -> Any:
    """Return what an automation says, in a form that is good for comparing."""
    return _plain(automation.model_dump(mode="json", exclude=_NOT_OURS))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items() if key != "id" and each not in (None, [], {}, "")}
    if isinstance(value, list):
        each = [_plain(one) for one in value]
        return sorted(each) if all(isinstance(one, str) for one in each) else each
    return value
