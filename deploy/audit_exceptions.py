"""Known vulnerabilities that are put up with: each with a reason, and a day from which on it no longer is."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import yaml

from ai_workflow.errors import AiWorkflowError

FILE = Path(__file__).with_name("audit_exceptions.yaml")
_KEYS = {"id", "reason", "until"}


class ExceptionsError(AiWorkflowError):
    """The file of exceptions is not as it has to be."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """One that is put up with: its id, or another name such as CVE-2026-1, and the last day of it."""

    id: str
    reason: str
    until: date

    def holds(self, today: date) -> bool:
        """Say whether it still holds."""
        return today <= self.until

    def told(self, today: date) -> str:
        """Say what is put up with, or no longer is."""
        state = f"put up with until {self.until}" if self.holds(today) else f"no longer put up with since {self.until}"
        return f"{self.id}: {state}: {self.reason}"


def read(path: Path) -> list[Accepted]:
    """Return the exceptions of a file.

    Raises:
        ExceptionsError: one lacks its id, its reason or its day, or says anything else.
    """
    try:
        found = yaml.safe_load(path.read_text()) or []
    except yaml.YAMLError as error:
        raise ExceptionsError(f"{path} is no YAML: {error}") from error
    if not isinstance(found, list):
        raise ExceptionsError(f"{path} is no list; its first lines show what one looks like")
    return [_one(path, number, entry) for number, entry in enumerate(found, 1)]


def _one(path: Path, number: int, entry: Any) -> Accepted:
    if not isinstance(entry, dict) or set(entry) != _KEYS:
        raise ExceptionsError(f"{path}, entry {number}: give it exactly {', '.join(sorted(_KEYS))}")
    if type(entry["until"]) is not date:
        raise ExceptionsError(f"{path}, entry {number}: until is no day: write it as 2027-01-31")
    for key in ("id", "reason"):
        if not isinstance(entry[key], str) or not entry[key].strip():
            raise ExceptionsError(f"{path}, entry {number}: {key} is empty")
    return Accepted(**entry)
