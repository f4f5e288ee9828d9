"""Result of a flow, and the state of runs without work, which an automation deletes by its name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from prefect.client.schemas.objects import State
from prefect.states import Completed

FlowOutcome = dict[str, Any] | State[Any]
# The name of the state (src/ai_workflow/provisioning/automations.py).
IDLE = "Idle"


@dataclass(frozen=True, slots=True)
class FlowResult:
    """Result of a flow run: a message and further JSON values.

    Args:
        message: summary for people.
        values: further fields of the result.
        is_idle: whether the run had nothing to do.
    """

    message: str
    values: Mapping[str, Any] = field(default_factory=dict)
    is_idle: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return the result as Prefect stores it."""
        return {"message": self.message, **self.values}

    def outcome(self, **more: Any) -> FlowOutcome:
        """Return the result with more values, within the state Idle if the run had nothing to do."""
        result = self.to_json() | more
        return Completed(name=IDLE, message=self.message, data=result) if self.is_idle else result
