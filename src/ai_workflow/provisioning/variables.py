"""Sync of Prefect Variables with `deploy.variables` of the configuration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.actions import VariableCreate, VariableUpdate

from ai_workflow.orchestration import owner_label


async def apply(client: PrefectClient, declared: Mapping[str, Any], label: str) -> tuple[list[str], list[str]]:
    """Create or update variables that differ, and return the changes and the problems; other variables are kept.

    A variable has the tag of the owner that created it, if the owner has a label. Its value is kept if another owner
    declares a different one.
    """
    changes = []
    problems = []
    tags = [owner_label.tag(label)] if label else []
    for name, value in declared.items():
        current = await client.read_variable_by_name(name)
        if current is None:
            await client.create_variable(VariableCreate(name=name, value=value, tags=tags))
            changes.append(f"variable {name}: made")
        elif current.value != value and owner_label.of(current.tags or ()) != label:
            problems.append(
                f"variable {name} belongs to another project or environment on this server, and keeps its value. Use "
                "another name in deploy.variables"
            )
        elif current.value != value:
            await client.update_variable(VariableUpdate(name=name, value=value))
            changes.append(f"variable {name}: changed")
    return changes, problems
