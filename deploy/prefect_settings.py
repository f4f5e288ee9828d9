"""The variables that tell Prefect which server, result folder and line format are ours; set before it is imported."""

from __future__ import annotations

from pathlib import Path

from ai_workflow.settings import Settings
from ai_workflow.store import Store
from deploy.server import Server

ROOT = Path(__file__).resolve().parent.parent


def environment(reached: Server, settings: Settings, var: Path) -> dict[str, str]:
    """Return the variables for a run with these settings; `var` is where results go if the store is not a folder."""
    store = Store(settings.store.root)
    variables = {
        "PREFECT_API_URL": reached.api_url,
        "PREFECT_HOME": str(var.resolve() / "prefect"),
        "PREFECT_LOCAL_STORAGE_PATH": str(store.local("results") if store.is_local else var.resolve() / "results"),
        "PREFECT_LOGGING_SETTINGS_PATH": str(ROOT / "config" / "logging.yaml"),
        "AIW_LOG_FORMAT": settings.logging.format,
    }
    if reached.pid:
        # The server has the version of the client: the check would be two requests in each run.
        variables["PREFECT_CLIENT_SERVER_VERSION_CHECK_ENABLED"] = "false"
    return variables
