"""A Prefect server on PostgreSQL that can be killed and started again at its address."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest
from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings

from ai_workflow.local import server, server_environment
from tests import services
from tests.flows.prefect_worker import Worker
from tests.flows.workspace import Workplace
from tests.patience import PATIENCE
from tests.services import Postgres

LOGIN = "admin:s3cr3t-of-the-server"


class DurableServer:
    """The server; what it knows is in the database, and in its folder.

    Args:
        folder: for what it writes.
        postgres: its database.
        login: what it asks for; empty: nothing.
    """

    def __init__(self, folder: Path, postgres: Postgres, login: str = "") -> None:
        self.port = services.free_port()
        self.api_url = f"http://127.0.0.1:{self.port}/api"
        self._place = Workplace(folder)
        account = f"{postgres.user}:{quote(postgres.password, safe='')}"
        url = f"postgresql+asyncpg://{account}@{postgres.host}:{postgres.port}/{postgres.dbname}"
        # All as `make run` starts it, but for the database.
        self._environment = server_environment.build(folder, self.port, os.environ, url) | {
            **({"PREFECT_SERVER_API_AUTH_STRING": login} if login else {}),
        }
        self._process: Worker | None = None

    def start(self) -> None:
        """Start it, and wait until it answers."""
        self._process = Worker.of(self._place, *server.command(self.port)[1:], **self._environment)
        deadline = time.monotonic() + PATIENCE
        while not self.answers():
            assert self._process.is_alive(), self._process.output()
            assert time.monotonic() < deadline, self._process.output()
            time.sleep(0.1)

    def answers(self) -> bool:
        """Say whether it does, with its database."""
        try:
            return httpx.get(f"{self.api_url}/ready", timeout=5, trust_env=False).is_success
        except httpx.TransportError:
            return False

    def kill(self) -> None:
        """Kill it as a power cut would."""
        assert self._process is not None
        self._process.kill()

    def output(self) -> str:
        """Return what it printed since it was started last."""
        return self._process.output() if self._process else ""


@contextmanager
def running(folder: Path, postgres: Postgres, login: str = "") -> Iterator[DurableServer]:
    """Start one; this process and its children use it, and log in, as long as the context lasts."""
    found = DurableServer(folder, postgres, login)
    found.start()
    used = {PREFECT_API_URL: found.api_url, PREFECT_API_AUTH_STRING: login or None}
    try:
        with pytest.MonkeyPatch.context() as patch, temporary_settings(used):
            patch.setenv("PREFECT_API_URL", found.api_url)
            if login:
                patch.setenv("PREFECT_API_AUTH_STRING", login)
            services.forget_events_client()
            yield found
            services.forget_events_client()
    finally:
        found.kill()
