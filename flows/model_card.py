"""The model card as the Prefect UI can show it: with its plots inside, since a link to a file leads nowhere there."""

from __future__ import annotations

import base64
import re

from ai_workflow.errors import AiWorkflowError
from ai_workflow.store import Store

_PLOT = re.compile(r"\]\(([\w-]+\.svg)\)")


def shown(store: Store, folder: str) -> str:
    """Return the card of a version as Markdown without links, or an empty text if it cannot be read."""
    try:
        text = store.read(f"{folder}/card.md").decode()
        return _PLOT.sub(lambda found: f"]({_inside(store.read(f'{folder}/{found[1]}'))})", text)
    except AiWorkflowError:
        return ""


def _inside(svg: bytes) -> str:
    return f"data:image/svg+xml;base64,{base64.b64encode(svg).decode()}"
