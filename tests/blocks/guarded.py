"""A Prefect server as it is to be run where others can reach it: a login, CSRF tokens and a key of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from cryptography.fernet import Fernet
from prefect.settings import PREFECT_API_AUTH_STRING, temporary_settings

from ai_workflow.local.server import Server
from tests import prefect_retry, services
from tests.flows.prefect_api import Api


@dataclass(frozen=True, slots=True)
class Guarded:
    """The server, its folder, and what guards it."""

    server: Server
    home: Path
    password: str
    key: str

    @property
    def login(self) -> tuple[str, str]:
        return ("operator", self.password)

    def client(self, *, csrf: bool) -> httpx.Client:
        """Return a client that has no login; with `csrf`, a token that someone with a login got."""
        headers = {}
        if csrf:
            asked = httpx.get(
                f"{self.server.api_url}/csrf-token",
                params={"client": "tests"},
                auth=self.login,
                trust_env=False,
                timeout=60,
            )
            token = asked.raise_for_status().json()["token"]
            headers = {"Prefect-Csrf-Token": token, "Prefect-Csrf-Client": "tests"}
        return prefect_retry.client(self.server.api_url, csrf=False, headers=headers)


class GuardedApi(Api):
    """Reads a guarded server, page by page."""

    def __init__(self, guarded: Guarded) -> None:
        super().__init__(guarded.server)
        self._client = guarded.client(csrf=True)
        self._client.auth = httpx.BasicAuth(*guarded.login)


@contextmanager
def running(folder: Path, password: str) -> Iterator[Guarded]:
    """Start a guarded server; this process and its children log in as long as the context lasts."""
    key = Fernet.generate_key().decode()
    login = f"operator:{password}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PREFECT_SERVER_API_AUTH_STRING", login)
        patch.setenv("PREFECT_SERVER_API_CSRF_PROTECTION_ENABLED", "true")
        patch.setenv("PREFECT_SERVER_ENCRYPTION_KEY", key)
        patch.setenv("PREFECT_API_AUTH_STRING", login)
        with temporary_settings({PREFECT_API_AUTH_STRING: login}), services.prefect_server(folder) as server:
            # Only the server has the key and its own half of the login; they are none of a worker's business.
            for name in ("PREFECT_SERVER_API_AUTH_STRING", "PREFECT_SERVER_ENCRYPTION_KEY"):
                patch.delenv(name)
            yield Guarded(server, folder / "prefect", password, key)
