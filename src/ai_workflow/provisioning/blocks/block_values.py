"""Values of Secret and ChatChannel blocks; a Prefect server that does not answer counts as one without the block."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from ai_workflow.alerting import events
from ai_workflow.prefect_errors import explain
from ai_workflow.telemetry.logs import logger

_SECONDS = 15.0
log = logger("relay")


def secret(name: str) -> str | None:
    """Return the value of a Secret block, or None."""
    from prefect.blocks.system import Secret

    block: Any = _block(f"Secret block '{name}'", Secret, name)
    return None if block is None else str(block.get())


def chat(name: str) -> Mapping[str, Any] | None:
    """Return the fields of a ChatChannel block, or None."""
    from ai_workflow.provisioning.blocks.chat_channel import ChatChannel

    block: Any = _block(f"ChatChannel block '{name}'", ChatChannel, name)
    return None if block is None else block.settings()


def _block(what: str, kind: Any, name: str) -> object:
    if not events.is_api_configured():
        return None
    try:
        # Prefect's client would retry for minutes, in which no alert is delivered.
        return asyncio.run(asyncio.wait_for(kind.aload(name), _SECONDS))
    except ValueError:
        return None
    except Exception as error:  # whatever keeps Prefect from answering
        log.warning(
            "%s cannot be read, its environment variable is used instead: %s: %s",
            what,
            type(error).__name__,
            explain(error),
        )
        return None
