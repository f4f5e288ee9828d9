"""Runs that found nothing to do: an automation deletes them by the name of their state."""

from __future__ import annotations

from typing import Any

from prefect.client.schemas.objects import State
from prefect.states import Completed

# The key that marks a result, and the name of the state (src/ai_workflow/provisioning/automations.py).
IDLE = "Idle"


def ended(result: dict[str, Any]) -> dict[str, Any] | State[Any]:
    """Return a result, or the state Idle with it if it is marked."""
    if not result.pop(IDLE, False):
        return result
    return Completed(name=IDLE, message=result["message"], data=result)
