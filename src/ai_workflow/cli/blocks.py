"""`ai-workflow blocks`: register the blocks of the catalogue on a Prefect server."""

from __future__ import annotations

import asyncio
import sys
from getpass import getpass
from pathlib import Path

from cyclopts import App

from ai_workflow.local import prefect_settings
from ai_workflow.prefect_errors import prefect_errors_wrapped
from ai_workflow.provisioning.blocks.registration import register as register_blocks

app = App(name="blocks", help="Register the blocks of the catalogue on a Prefect server.")


@app.command
def register() -> None:
    """Register the block types, and the blocks with values from environment variables or the terminal."""
    prefect_settings.require_url(Path("var"))
    with prefect_errors_wrapped():
        asyncio.run(_register())


async def _register() -> None:
    outcomes = []
    async for outcome in register_blocks(_prompt if sys.stdin.isatty() else None):
        print(outcome)
        outcomes.append(outcome)
    if not any(outcome.changed for outcome in outcomes):
        print("nothing changed")


def _prompt(text: str, hidden: bool) -> str:
    return (getpass if hidden else input)(f"{text} (empty to skip): ").strip()
