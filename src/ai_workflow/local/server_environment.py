"""The environment of a Prefect server of this project: where it keeps what it knows, and whom it tells of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ai_workflow.errors import AiWorkflowError
from ai_workflow.local import encryption
from ai_workflow.local.ports import HOST


class FolderError(AiWorkflowError):
    """A folder with a path that Prefect does not read as it is written."""


def check_folder(folder: Path) -> None:
    """Refuse a folder that Prefect would read as another one.

    Raises:
        FolderError: its path holds a question mark, which begins the query of a database URL, `{{`, which begins a
            placeholder of a pull step, or a control character.
    """
    path = str(folder.absolute())
    wrong = [sign for sign in ("?", "{{") if sign in path] + [sign for sign in path if ord(sign) < 32 or sign == "\x7f"]
    if wrong:
        raise FolderError(
            f"the folder {path!r} cannot hold a Prefect server: its path has {wrong[0]!r}, which Prefect would not "
            "read as part of the path. Nothing was started. Move or rename the folder"
        )


def of(home: Path, port: int, given: Mapping[str, str], database: str | None = None) -> dict[str, str]:
    """Return the environment of a server.

    Args:
        home: the folder where it keeps all it has to.
        port: where it listens.
        given: the environment of who starts it.
        database: the address of its database, if that is not a file of `home`.

    Raises:
        FolderError: Prefect would read `home` as another folder.
    """
    check_folder(home)
    ours = {
        "PREFECT_HOME": str(home),
        "PREFECT_PROFILES_PATH": str(home / "profiles.toml"),
        "PREFECT_API_URL": f"http://{HOST}:{port}/api",
        "PREFECT_SERVER_API_HOST": HOST,
        "PREFECT_SERVER_API_PORT": str(port),
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": database or database_of(home),
        # In memory, as is the default, they are lost with the server: what held one then keeps its slot for good.
        "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
        "PREFECT_SERVER_UI_ENABLED": "true",
        "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        # By default Prefect never removes a run. PREFECT_SERVER_SERVICES_DB_VACUUM_RETENTION_PERIOD: 90 days.
        "PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED": "events,flow_runs",
        "DO_NOT_TRACK": "1",
        **guard(port),
    }
    key = encryption.key_of(given)
    return without_foreign(given) | ours | ({"PREFECT_SERVER_ENCRYPTION_KEY": key} if key else {})


def database_of(home: Path) -> str:
    """Return the address of the SQLite database in a folder."""
    return f"sqlite+aiosqlite:///{home / 'prefect.db'}"


def guard(port: int) -> dict[str, str]:
    """Return the settings that keep pages of other sites from a server.

    The UI finds the API by a relative URL, and so works under each name of the server without CORS.
    """
    return {
        "PREFECT_SERVER_API_CORS_ALLOWED_ORIGINS": f"http://{HOST}:{port},http://localhost:{port}",
        "PREFECT_SERVER_API_CSRF_PROTECTION_ENABLED": "true",
        "PREFECT_SERVER_UI_API_URL": "/api",
    }


def without_foreign(given: Mapping[str, str]) -> dict[str, str]:
    """Return an environment without what says which Prefect server, database or profile is used."""
    foreign = ("PREFECT_API_", "PREFECT_PROFILE", "PREFECT_SERVER_DATABASE_", "PREFECT_UI_", "PREFECT__")
    return {name: value for name, value in given.items() if not name.startswith(foreign)}
