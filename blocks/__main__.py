"""`python -m blocks register`: makes the Secret blocks whose variables are set, and the block type of chats known."""

from __future__ import annotations

import asyncio
import os
import sys

from prefect.blocks.system import Secret

from blocks.catalogue import SECRETS, SecretBlock
from blocks.chat_channel import ChatChannel


async def register() -> int:
    """Create or update each block of the catalogue, and say of each what was done; the values are never shown."""
    for block in SECRETS:
        print(f"{block.name}: {await _register(block)}")
    await ChatChannel.register_type_and_schema()
    print("ChatChannel: block type known")
    return 0


async def _register(block: SecretBlock) -> str:
    value = os.environ.get(block.variable)
    try:
        before = (await Secret.aload(block.name)).get()  # type: ignore[attr-defined]
    except ValueError:
        before = None
    if value is None:
        return "there already" if before is not None else f"not made: set {block.variable} ({block.purpose})"
    if value == before:
        return "unchanged"
    await Secret(value=value).save(block.name, overwrite=True)
    return "made" if before is None else "changed"


if __name__ == "__main__":
    if sys.argv[1:] != ["register"]:
        sys.exit(f"usage: python -m blocks register\n{__doc__}")
    sys.exit(asyncio.run(register()))
