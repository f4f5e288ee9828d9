"""Environment variables of a Prefect server of this project."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ai_workflow.errors import AiWorkflowError
from ai_workflow.local import encryption
from ai_workflow.local.ports import HOST


class FolderError(AiWorkflowError):
    """A folder whose path Prefect would misread."""


def check_folder(folder: Path) -> None:
    """Raise if Prefect would misread the path of a folder.

    Raises:
        FolderError: its path has a question mark (query of a database URL), `{{` (placeholder of a pull step) or a
            control character.
    """
    path = str(folder.absolute())
    forbidden = [text for text in ("?", "{{") if text in path]
    forbidden += [char for char in path if ord(char) < 32 or char == "\x7f"]
    if forbidden:
        raise FolderError(
            f"the folder {path!r} cannot hold a Prefect server: its path has {forbidden[0]!r}, which Prefect would not "
            "read as part of the path. Nothing was started. Move or rename the folder"
        )


def build(home: Path, port: int, env: Mapping[str, str], database: str | None = None) -> dict[str, str]:
    """Return the environment of a server.

    Args:
        home: the folder of its database, log and state.
        port: the port to listen on.
        env: the environment of the process that starts it.
        database: the URL of its database; a file in `home` if not given.

    Raises:
        FolderError: Prefect would misread the path of `home`.
    """
    check_folder(home)
    settings = {
        "PREFECT_HOME": str(home),
        "PREFECT_PROFILES_PATH": str(home / "profiles.toml"),
        "PREFECT_API_URL": f"http://{HOST}:{port}/api",
        "PREFECT_SERVER_API_HOST": HOST,
        "PREFECT_SERVER_API_PORT": str(port),
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": database or database_url(home),
        # By default, leases are in memory: a restart would lose them, and their slots would stay taken for ever.
        "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
        "PREFECT_SERVER_UI_ENABLED": "true",
        "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        # By default Prefect never removes a run. PREFECT_SERVER_SERVICES_DB_VACUUM_RETENTION_PERIOD: 90 days.
        "PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED": "events,flow_runs",
        "DO_NOT_TRACK": "1",
        **guard_settings(port),
    }
    key = encryption.configured_key(env)
    return without_prefect_settings(env) | settings | ({"PREFECT_SERVER_ENCRYPTION_KEY": key} if key else {})


def database_url(home: Path) -> str:
    """Return the URL of the SQLite database in a folder."""
    return f"sqlite+aiosqlite:///{home / 'prefect.db'}"


def guard_settings(port: int) -> dict[str, str]:
    """Return the settings that protect a server from pages of other sites.

    The UI uses a relative URL of the API, so that it works with every name of the server without CORS.
    """
    return {
        "PREFECT_SERVER_API_CORS_ALLOWED_ORIGINS": f"http://{HOST}:{port},http://localhost:{port}",
        "PREFECT_SERVER_API_CSRF_PROTECTION_ENABLED": "true",
        "PREFECT_SERVER_UI_API_URL": "/api",
    }


def without_prefect_settings(env: Mapping[str, str]) -> dict[str, str]:
    """Return an environment without variables that choose a Prefect server, database or profile."""
    prefixes = ("PREFECT_API_", "PREFECT_PROFILE", "PREFECT_SERVER_DATABASE_", "PREFECT_UI_", "PREFECT__")
    return {name: value for name, value in env.items() if not name.startswith(prefixes)}
