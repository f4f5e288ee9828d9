"""Registration of the blocks of the catalogue; values are never shown."""

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
from ai_workflow.config.settings.chat import KINDS_WITH_SECRET
from ai_workflow.errors import AiWorkflowError
from ai_workflow.provisioning.blocks import block_catalogue
from ai_workflow.provisioning.blocks.block_catalogue import ChatBlock, SecretBlock
from ai_workflow.provisioning.blocks.chat_channel import ChatChannel

KEPT = "kept, with another value"
TYPES: tuple[type[Block], ...] = (Secret, ChatChannel)

# Prompts for a value: the text of the prompt, and whether the input is hidden; returns an empty text for no value.
Prompt = Callable[[str, bool], str]


class BlockError(AiWorkflowError):
    """A value of a block is invalid."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result for a block or block type; `changed` is whether something was written to the server."""

    name: str
    result: str
    changed: bool = False

    def __str__(self) -> str:
        return f"{self.name}: {self.result}"


async def register(prompt: Prompt | None = None, *, keep_existing: bool = False) -> AsyncIterator[Outcome]:
    """Create or update the block types and the blocks of the catalogue, and yield the outcome of each.

    Args:
        prompt: prompts for a value of a new block that the environment does not have; None for no prompts.
        keep_existing: whether blocks with another value are kept, and reported as `KEPT`.

    Raises:
        BlockError: a value is invalid; nothing has been changed.
    """
    channels = [(chat, _from_environment(chat)) for chat in block_catalogue.chats()]
    plans = [await _plan_secret(secret, prompt) for secret in block_catalogue.secrets()]
    plans += [await _plan_chat(chat, channel, prompt) for chat, channel in channels]
    for kind in TYPES:
        yield await _register_type(kind)
    for plan in plans:
        yield await plan.execute(keep_existing=keep_existing)


@dataclass(frozen=True, slots=True)
class _Plan:
    """The planned change of a block.

    Args:
        name: the name of the block.
        block: the valid new block; None to keep `current`.
        current: the block on the server, or None.
        is_same: whether both are equal.
        variables: the variables to set if there is no block.
    """

    name: str
    block: Block | None
    current: Block | None
    is_same: bool
    variables: str

    async def execute(self, *, keep_existing: bool) -> Outcome:
        if self.block is None:
            return Outcome(self.name, f"not made: set {self.variables}" if self.current is None else "there already")
        if self.is_same:
            return Outcome(self.name, "unchanged")
        if keep_existing and self.current is not None:
            return Outcome(self.name, KEPT)
        await self.block.save(self.name, overwrite=True)
        return Outcome(self.name, "made" if self.current is None else "changed", changed=True)


async def _register_type(kind: type[Block]) -> Outcome:
    name = f"block type {kind.get_block_type_name()}"
    before = await _registered(kind)
    await kind.register_type_and_schema()
    if before == await _registered(kind):
        return Outcome(name, "unchanged")
    return Outcome(name, "made" if before is None else "changed", changed=True)


async def _registered(kind: type[Block]) -> tuple[Any, ...] | None:
    async with get_client() as client:
        try:
            block_type = await client.read_block_type_by_slug(kind.get_block_type_slug())
        except ObjectNotFound:
            return None
        schemas = {
            schema.checksum for schema in await client.read_block_schemas() if schema.block_type_id == block_type.id
        }
    return block_type.logo_url, block_type.documentation_url, block_type.description, block_type.code_example, schemas


async def _plan_secret(block: SecretBlock, prompt: Prompt | None) -> _Plan:
    value = os.environ.get(block.variable) or None
    current = await _load(Secret, block.name)
    if value is None and current is None and prompt is not None:
        value = prompt(f"{block.name}, {block.purpose}", True) or None
    is_same = current is not None and current.get() == value
    secret: Block | None = None if value is None else Secret(value=value)
    return _Plan(block.name, secret, current, is_same, f"{block.variable} ({block.purpose})")


async def _plan_chat(block: ChatBlock, channel: ChatChannel | None, prompt: Prompt | None) -> _Plan:
    current = await _load(ChatChannel, block.name)
    if channel is None and current is None and prompt is not None:
        channel = _from_prompt(block, prompt)
    is_same = current is not None and channel is not None and current.settings() == channel.settings()
    variables = f"{block.variables['kind']} and {block.variables['url']} ({block.purpose})"
    return _Plan(block.name, channel, current, is_same, variables)


def _from_prompt(block: ChatBlock, prompt: Prompt) -> ChatChannel | None:
    kind = prompt(f"{block.name}, {block.purpose}: its kind, such as slack or feishu", False)
    if not kind:
        return None
    url = prompt(f"{block.name}: the URL of the bot", True)
    secret = prompt(f"{block.name}: its secret, if any", True) if kind in KINDS_WITH_SECRET else ""
    return _channel(block.name, {"kind": kind, "url": url, "secret": secret})


def _from_environment(block: ChatBlock) -> ChatChannel | None:
    values = {field: os.environ.get(name, "") for field, name in block.variables.items()}
    if not any(values.values()):
        return None
    missing = [block.variables[field] for field in ("kind", "url") if not values[field]]
    if missing:
        raise BlockError(f"block '{block.name}': also set {' and '.join(missing)}, or none of {_names(block)}")
    return _channel(block.name, values)


def _channel(name: str, values: Mapping[str, str]) -> ChatChannel:
    if values["secret"] and values["kind"] not in KINDS_WITH_SECRET:
        raise BlockError(f"block '{name}': a chat of kind {values['kind']} takes no secret. Remove it")
    try:
        channel = ChatChannel.model_validate({field: value for field, value in values.items() if value})
    except ValidationError as error:
        # The message only, because a value may be a secret.
        messages = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors())
        raise BlockError(f"block '{name}': {messages}") from None
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
