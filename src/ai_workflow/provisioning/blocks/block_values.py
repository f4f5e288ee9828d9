"""Values of Secret and ChatChannel blocks for the relay; a block that cannot be read is logged and counts as absent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from ai_workflow.orchestration import secret_blocks
from ai_workflow.telemetry.logs import logger

log = logger("relay")
T = TypeVar("T")


def secret(name: str) -> str | None:
    """Return the value of a Secret block, or None."""
    return _logged(*secret_blocks.read(name))


def chat(name: str) -> Mapping[str, Any] | None:
    """Return the fields of a ChatChannel block, or None."""
    from ai_workflow.provisioning.blocks.chat_channel import ChatChannel

    return _logged(*secret_blocks.within_timeout(lambda: ChatChannel.aread(name), f"ChatChannel block '{name}'"))


def _logged(value: T | None, warning: str) -> T | None:
    if warning:
        log.warning("%s", warning)
    return value
