"""Model versions that answer requests, as reported by the inference service of the stack."""

from __future__ import annotations

import http.client
import json
from contextlib import closing
from typing import Any

from ai_workflow.config.settings import Settings
from ai_workflow.errors import StoreError
from ai_workflow.local.ports import HOST
from ai_workflow.local.run_report import Hints
from ai_workflow.registry.registry import Registry
from ai_workflow.storage.store import Store

_SECONDS = 5.0
_PATH = "/v2/health/ready"


def line(settings: Settings, port: int, hints: Hints) -> str:
    """Return the version that answers and why others do not, or the command that trains the first one.

    Args:
        settings: the settings of the service.
        port: the port of the service on this machine.
        hints: commands for the same pipeline.
    """
    state = _ready(port)
    if state and "pipelines" in state:
        return "; ".join(f"{name} {_serving(each['serving'])}" for name, each in state["pipelines"].items())
    try:
        aliases = Registry(Store(settings.store.root), settings.models).aliases()
    except StoreError as error:
        return f"unknown: {error}"
    versions = [f"{name} ({alias})" for alias, name in aliases.items() if name]
    if not versions:
        return f"none: requests get the default response. Train one: {hints.make('run')}"
    if state is None:
        return f"{', '.join(versions)}; the inference service does not answer, see make status"
    if state["state"] == "ok":
        return ", ".join(versions)
    reasons = [state["absent"]] if state["absent"] else []
    reasons += [f"{name}: {condition}" for name, condition in state["versions"].items() if condition != "ok"]
    serving = _serving(state["serving"])
    return f"{serving} ({state['state']}: {'; '.join(reasons)}). See make status and the log of the service"


def _serving(name: str | None) -> str:
    if name is None:
        return "none: requests are answered with 503"
    return "none: requests get the default response" if name == "default" else name


def _ready(port: int) -> dict[str, Any] | None:
    """Return the readiness of the service, None if it does not answer."""
    with closing(http.client.HTTPConnection(HOST, port, timeout=_SECONDS)) as connection:
        try:
            connection.request("GET", _PATH)
            body = json.loads(connection.getresponse().read())
        except (OSError, http.client.HTTPException, ValueError):
            return None
    of_one, of_several = {"state", "serving", "versions", "absent"}, {"state", "pipelines"}
    return body if isinstance(body, dict) and (of_one <= body.keys() or of_several <= body.keys()) else None
