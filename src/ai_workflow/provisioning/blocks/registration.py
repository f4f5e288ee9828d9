"""How the blocks of the catalogue come to be: each made, changed or left, and said so; values are never shown."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from prefect.blocks.core import Block
from prefect.blocks.system import Secret
from prefect.client.orchestration import get_client
from prefect.exceptions import ObjectNotFound
from pydantic import ValidationError

from ai_workflow.config.settings import chat_urls
from ai_workflow.config.settings.chat import TAKE_SECRET
from ai_workflow.errors import AiWorkflowError
from ai_workflow.provisioning.blocks import block_catalogue
from ai_workflow.provisioning.blocks.block_catalogue import ChatBlock, SecretBlock
from ai_workflow.provisioning.blocks.chat_channel import ChatChannel

TYPES: tuple[type[Block], ...] = (Secret, ChatChannel)

# Asks a person for a value: what it is, and whether it must not be seen while it is typed; empty: none.
Ask = Callable[[str, bool], str]


class BlockError(AiWorkflowError):
    """A value that no block can be made from."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one block or block type; `changed` tells whether the server is another than before."""

    name: str
    what: str
    changed: bool = False

    def __str__(self) -> str:
        return f"{self.name}: {self.what}"


async def register(ask: Ask | None = None) -> AsyncIterator[Outcome]:
    """Make or update the block types and the blocks of the catalogue, and yield what was done to each.

    Args:
        ask: asks for a value that the environment lacks, of a block that is not there yet; None: nobody is asked.

    Raises:
        BlockError: a value makes no block; nothing has been changed then, however many were asked for before it.
    """
    given = [(chat, _given(chat)) for chat in block_catalogue.chats()]
    plans = [await _secret(secret, ask) for secret in block_catalogue.secrets()]
    plans += [await _chat(chat, found, ask) for chat, found in given]
    for kind in TYPES:
        yield await _type(kind)
    for plan in plans:
        yield await plan.carry_out()


@dataclass(frozen=True, slots=True)
class _Plan:
    """What one block is to become: `block`, checked; None leaves it as it is, `before`."""

    name: str
    block: Block | None
    before: Block | None
    same: bool
    needed: str

    async def carry_out(self) -> Outcome:
        if self.block is None:
            return Outcome(self.name, f"not made: set {self.needed}" if self.before is None else "there already")
        if self.same:
            return Outcome(self.name, "unchanged")
        await self.block.save(self.name, overwrite=True)
        return Outcome(self.name, "made" if self.before is None else "changed", changed=True)


async def _type(kind: type[Block]) -> Outcome:
    name = f"block type {kind.get_block_type_name()}"
    before = await _known(kind)
    await kind.register_type_and_schema()
    if before == await _known(kind):
        return Outcome(name, "unchanged")
    return Outcome(name, "made" if before is None else "changed", changed=True)


async def _known(kind: type[Block]) -> tuple[Any, ...] | None:
    async with get_client() as client:
        try:
            found = await client.read_block_type_by_slug(kind.get_block_type_slug())
        except ObjectNotFound:
            return None
        schemas = {schema.checksum for schema in await client.read_block_schemas() if schema.block_type_id == found.id}
    return found.logo_url, found.documentation_url, found.description, found.code_example, schemas


async def _secret(block: SecretBlock, ask: Ask | None) -> _Plan:
    value = os.environ.get(block.variable) or None
    before = await _load(Secret, block.name)
    if value is None and before is None and ask is not None:
        value = ask(f"{block.name}, {block.purpose}", True) or None
    same = before is not None and before.get() == value
    wanted: Block | None = None if value is None else Secret(value=value)
    return _Plan(block.name, wanted, before, same, f"{block.variable} ({block.purpose})")


async def _chat(block: ChatBlock, given: ChatChannel | None, ask: Ask | None) -> _Plan:
    before = await _load(ChatChannel, block.name)
    if given is None and before is None and ask is not None:
        given = _asked(block, ask)
    same = before is not None and given is not None and before.settings() == given.settings()
    needed = f"{block.variables['kind']} and {block.variables['url']} ({block.purpose})"
    return _Plan(block.name, given, before, same, needed)


def _asked(block: ChatBlock, ask: Ask) -> ChatChannel | None:
    kind = ask(f"{block.name}, {block.purpose}: its kind, such as slack or feishu", False)
    if not kind:
        return None
    url = ask(f"{block.name}: the bot's address", True)
    secret = ask(f"{block.name}: its secret, if any", True) if kind in TAKE_SECRET else ""
    return _channel(block.name, {"kind": kind, "url": url, "secret": secret})


def _given(block: ChatBlock) -> ChatChannel | None:
    values = {field: os.environ.get(name, "") for field, name in block.variables.items()}
    if not any(values.values()):
        return None
    missing = [block.variables[field] for field in ("kind", "url") if not values[field]]
    if missing:
        raise BlockError(f"block '{block.name}': also set {' and '.join(missing)}, or none of {_names(block)}")
    return _channel(block.name, values)


def _channel(name: str, values: Mapping[str, str]) -> ChatChannel:
    if values["secret"] and values["kind"] not in TAKE_SECRET:
        raise BlockError(f"block '{name}': a chat of kind {values['kind']} takes no secret; leave it out")
    try:
        channel = ChatChannel.model_validate({field: value for field, value in values.items() if value})
    except ValidationError as error:
        # Only the message: a value may be a secret.
        said = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
        raise BlockError(f"block '{name}': {said}") from None
    url = values["url"].strip()
    is_apprise = channel.kind == "apprise"
    if problem := chat_urls.refusal_of_apprise(url) if is_apprise else chat_urls.refusal(channel.kind, url):
        raise BlockError(f"block '{name}': {problem}")
    return channel


def _names(block: ChatBlock) -> str:
    return ", ".join(block.variables.values())


async def _load(kind: type[Block], name: str) -> Any:
    try:
        return await kind.aload(name)
    except ValueError as error:
        if "Unable to find" in str(error):
            return None
        raise
