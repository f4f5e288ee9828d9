"""The block catalogue of the project, `blocks/catalogue.py`: names, purposes and variables of blocks."""

from __future__ import annotations

from dataclasses import dataclass

from ai_workflow.config import project
from ai_workflow.secret_values import variable


@dataclass(frozen=True, slots=True)
class SecretBlock:
    """A Prefect Secret block: its name in `${secret:NAME}`, and its purpose."""

    name: str
    purpose: str

    @property
    def variable(self) -> str:
        """The environment variable that the block is created from, and that replaces it if there is no block."""
        return variable(self.name)


@dataclass(frozen=True, slots=True)
class ChatBlock:
    """A ChatChannel block: its name in `chat: [{block: NAME}]`, and its purpose."""

    name: str
    purpose: str

    @property
    def variables(self) -> dict[str, str]:
        """The environment variable of each field: kind, url, secret."""
        return {field: f"{variable(self.name)}_{field.upper()}" for field in ("kind", "url", "secret")}


def secrets() -> tuple[SecretBlock, ...]:
    """Return the Secret blocks of the catalogue."""
    blocks: tuple[SecretBlock, ...] = project.module("blocks.catalogue").SECRETS
    return blocks


def chats() -> tuple[ChatBlock, ...]:
    """Return the ChatChannel blocks of the catalogue."""
    blocks: tuple[ChatBlock, ...] = project.module("blocks.catalogue").CHATS
    return blocks
