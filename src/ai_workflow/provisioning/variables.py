"""Sync of Prefect Variables with `deploy.variables` of the configuration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.actions import VariableCreate, VariableUpdate


async def apply(client: PrefectClient, declared: Mapping[str, Any]) -> list[str]:
    """Create or update variables that differ, and return the changes; other variables are kept."""
    changes = []
    for name, value in declared.items():
        current = await client.read_variable_by_name(name)
        if current is None:
            await client.create_variable(VariableCreate(name=name, value=value))
            changes.append(f"variable {name}: made")
        elif current.value != value:
            await client.update_variable(VariableUpdate(name=name, value=value))
            changes.append(f"variable {name}: changed")
    return changes
