"""Prefect Variables as the configuration wants them (`ai_workflow.provisioning.variables`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.actions import VariableCreate, VariableUpdate


async def apply(client: PrefectClient, wanted: Mapping[str, Any]) -> list[str]:
    """Create or change what differs, and return what was done; others are left alone."""
    done = []
    for name, value in wanted.items():
        found = await client.read_variable_by_name(name)
        if found is None:
            await client.create_variable(VariableCreate(name=name, value=value))
            done.append(f"variable {name}: made")
        elif found.value != value:
            await client.update_variable(VariableUpdate(name=name, value=value))
            done.append(f"variable {name}: changed")
    return done
