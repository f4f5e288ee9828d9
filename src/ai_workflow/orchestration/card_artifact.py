"""The model card as the Prefect UI can show it: with its plots inside, since a link to a file leads nowhere there."""

from __future__ import annotations

import base64
import re

from ai_workflow.errors import AiWorkflowError
from ai_workflow.storage.store import Store

# A plot has a line of its own, which no text of a user has.
_PLOT = re.compile(r"^(!\[[\w-]+\])\(([\w-]+\.svg)\)$", re.MULTILINE)


def shown(store: Store, folder: str) -> str:
    """Return the card of a version as Markdown without links, or an empty text if it cannot be read."""
    try:
        text = store.read(f"{folder}/card.md").decode()
        return _PLOT.sub(lambda found: f"{found[1]}({_inside(store.read(f'{folder}/{found[2]}'))})", text)
    except AiWorkflowError:
        return ""


def _inside(svg: bytes) -> str:
    return f"data:image/svg+xml;base64,{base64.b64encode(svg).decode()}"
