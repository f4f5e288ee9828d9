"""Secret values: masked in output, given as a literal or as the name of a secret that is fetched on use."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ai_workflow.errors import AiWorkflowError

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler
    from pydantic_core import CoreSchema

IN_CACHE_KEY = False
MASK = "***"
_REFERENCE = re.compile(r"^\$\{secret:([a-z0-9][a-z0-9-]*)\}$")
_revealed: set[str] = set()

Fetch = Callable[[str], str | None]


class MissingSecretError(AiWorkflowError):
    """Neither a Secret block nor the environment has a secret of that name."""


class Secret:
    """A masked value: `reveal` fetches `${secret:NAME}`; any other text is the value itself."""

    def __init__(self, text: str) -> None:
        reference = _REFERENCE.match(text)
        self.name = reference.group(1) if reference else None
        self._value = None if reference else text
        if self._value:
            _revealed.add(self._value)

    def reveal(self, fetch: Fetch | None = None) -> str:
        """Return the value; a named secret comes from `fetch` (a Prefect Secret block), else from the environment.

        Raises:
            MissingSecretError: neither has a secret of that name.
        """
        if self.name is None:
            return self._value or ""
        value = fetch(self.name) if fetch else None
        value = value if value is not None else os.environ.get(variable(self.name))
        if not value:
            state = "not set" if value is None else "empty"
            raise MissingSecretError(
                f"secret '{self.name}' is {state}. Create a Prefect Secret block '{self.name}', "
                f"or set the environment variable {variable(self.name)}"
            )
        _revealed.add(value)
        return value

    @property
    def is_empty(self) -> bool:
        """Whether the secret is an empty literal."""
        return self.name is None and not self._value

    def __repr__(self) -> str:
        return f"Secret('{MASK}')"

    def __str__(self) -> str:
        return MASK

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and (self.name, self._value) == (other.name, other._value)

    def __hash__(self) -> int:
        return hash((self.name, self._value))

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        # Imported here, because model processes read no settings and start faster without pydantic.
        from pydantic_core import core_schema

        return core_schema.no_info_plain_validator_function(
            cls._validate,
            serialization=core_schema.plain_serializer_function_ser_schema(
                lambda _: MASK, return_schema=core_schema.str_schema()
            ),
        )

    @classmethod
    def _validate(cls, value: object) -> Secret:
        if isinstance(value, Secret):
            return value
        if not isinstance(value, str):
            raise ValueError("a secret must be text; quote it")
        return cls(value)


def variable(name: str) -> str:
    """Return the environment variable that can hold the secret of a name."""
    return name.upper().replace("-", "_")


def scrub(text: str) -> str:
    """Return a text with every secret that this process has read replaced by `***`."""
    for value in sorted(_revealed, key=len, reverse=True):
        if len(value) >= 4 and value in text:
            text = text.replace(value, MASK)
    return text
