"""Orphans: deployments and automations of an earlier set-up that are no longer declared."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from prefect.exceptions import ObjectNotFound


@dataclass(frozen=True, slots=True)
class Orphans:
    """Objects on a server by name, and the function that deletes one by its ID."""

    ids: Mapping[str, UUID]
    delete: Callable[[UUID], Awaitable[Any]]

    @property
    def names(self) -> list[str]:
        """The names, sorted."""
        return sorted(self.ids)

    async def remove(self) -> list[str]:
        """Delete all, and return the changes; objects that no longer exist are ignored."""
        for name in self.names:
            with suppress(ObjectNotFound):
                await self.delete(self.ids[name])
        return [f"{name}: removed" for name in self.names]
