"""Values of Prefect Secret blocks."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from prefect.blocks.system import Secret
from prefect.settings import PREFECT_API_URL

from ai_workflow.prefect_errors import explain

# Prefect's client retries for minutes, in which a service would not start and no alert would be delivered.
TIMEOUT_SECONDS = 15.0

T = TypeVar("T")


async def aload(name: str) -> str | None:
    """Return the value of a Secret block, or None if there is no such block."""
    try:
        # Not `load`: within an async flow it returns a coroutine, in a thread too.
        block: Any = await Secret.aload(name)
    except ValueError:
        return None
    return str(block.get())


def load(name: str) -> str | None:
    """Return the value of a Secret block, or None if there is no such block; requires a thread without an event loop.

    Raises an error of Prefect or of its client if the server gives no answer.
    """
    return asyncio.run(aload(name))


def read(name: str) -> tuple[str | None, str]:
    """Return the value of a Secret block, and a warning if the block cannot be read.

    The value is None if there is no such block, no Prefect server is configured, or the server gives no answer within
    `TIMEOUT_SECONDS`; callers then use the environment variable of the secret.
    """
    return within_timeout(lambda: aload(name), f"Secret block '{name}'")


def within_timeout(request: Callable[[], Awaitable[T | None]], title: str) -> tuple[T | None, str]:
    """Return the result of a request for a block, and a warning if it failed; (None, "") without a Prefect server.

    Args:
        request: the request to Prefect.
        title: the name of the block in the warning.
    """

    async def bounded() -> T | None:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            return await request()

    # Without a configured server, Prefect would start a temporary one.
    if not PREFECT_API_URL.value():
        return None, ""
    try:
        return asyncio.run(bounded()), ""
    except Exception as error:  # anything that Prefect or its client raises
        problem = f"{type(error).__name__}: {explain(error)}"
        return None, f"{title} cannot be read, its environment variable is used instead: {problem}"
