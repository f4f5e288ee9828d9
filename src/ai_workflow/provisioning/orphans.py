"""What an earlier bootstrap has made and the files do not want any more: named, and removed where that is asked for."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from prefect.exceptions import ObjectNotFound


@dataclass(frozen=True, slots=True)
class Leftovers:
    """Things of a server by name, and what removes one by its id."""

    ids: Mapping[str, UUID]
    delete: Callable[[UUID], Awaitable[Any]]

    @property
    def names(self) -> list[str]:
        """The names, sorted."""
        return sorted(self.ids)

    async def remove(self) -> list[str]:
        """Remove them all, and return what was done, a line each; one that is gone meanwhile is no error."""
        for name in self.names:
            with suppress(ObjectNotFound):
                await self.delete(self.ids[name])
        return [f"{name}: removed" for name in self.names]
