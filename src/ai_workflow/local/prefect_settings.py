"""Settings of the Prefect client: environment variables of a run, and the URL of the API."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ai_workflow.config import project
from ai_workflow.config.settings import Settings
from ai_workflow.errors import AiWorkflowError
from ai_workflow.local import server
from ai_workflow.local.server import Server
from ai_workflow.storage.store import Store


class UrlUnsetError(AiWorkflowError):
    """No setting names the Prefect server."""


def may_name_a_server(env: Mapping[str, str]) -> bool:
    """Return whether PREFECT_API_URL is set or a file of Prefect profiles exists; Prefect is not imported."""
    home = Path(env.get("PREFECT_HOME") or "~/.prefect").expanduser()
    profiles = Path(env.get("PREFECT_PROFILES_PATH") or home / "profiles.toml").expanduser()
    return bool(env.get("PREFECT_API_URL")) or profiles.is_file()


def require_url(var: Path) -> None:
    """Raise if neither PREFECT_API_URL nor a profile names a server, because Prefect would start a temporary one.

    Raises:
        UrlUnsetError: no server is named; the message has the URL of the server of `var` if one runs.
    """
    from prefect.settings import PREFECT_API_URL

    if PREFECT_API_URL.value():
        return
    local_server = server.status(var)
    url = f"{local_server.api_url} for that of this folder" if local_server else "such as http://127.0.0.1:4200/api"
    raise UrlUnsetError(f"PREFECT_API_URL is not set. Set it to the URL of the server's API, {url}")


def environment(prefect_server: Server, settings: Settings, var: Path) -> dict[str, str]:
    """Return the environment variables of a run, which must be set before Prefect is imported.

    Results are stored in `var` if the store is not a folder.
    """
    store = Store(settings.store.root)
    variables = {
        "PREFECT_API_URL": prefect_server.api_url,
        "PREFECT_HOME": str(var.resolve() / "prefect"),
        "PREFECT_LOCAL_STORAGE_PATH": str(store.local("results") if store.is_local else var.resolve() / "results"),
        "PREFECT_LOGGING_SETTINGS_PATH": str(project.path("config", "logging.yaml")),
        "AIW_LOG_FORMAT": settings.logging.format,
    }
    if prefect_server.pid:
        # The server has the version of the client; the check would cost two requests in each run.
        variables["PREFECT_CLIENT_SERVER_VERSION_CHECK_ENABLED"] = "false"
    return variables
