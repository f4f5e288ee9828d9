"""Real servers for tests, on loopback, on free ports, and surely stopped."""

from __future__ import annotations

import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import psycopg
import pytest

from ai_workflow.local import ports, server
from ai_workflow.local.stack import database
from tests import migrated_database

LOOPBACK = "127.0.0.1"

# Above the registered services, and below the ports that Linux gives to connections (32768 on, ip_local_port_range).
_PORTS = range(12000, 32000)
_given: set[int] = set()


@dataclass(frozen=True, slots=True)
class Postgres:
    """A PostgreSQL server that asks for a password (scram-sha-256)."""

    port: int
    host: str = LOOPBACK
    user: str = "pipeline"
    password: str = "s3cr3t-pa$$:w@rd"
    dbname: str = "postgres"
    restart: Callable[[], None] = field(default=lambda: None, repr=False, compare=False)
    """Ends it as an administrator does, connections and all, and starts it again at the same port."""

    def connect(self) -> psycopg.Connection:
        """Open a connection with autocommit."""
        return psycopg.connect(
            host=self.host, port=self.port, user=self.user, password=self.password, dbname=self.dbname, autocommit=True
        )


@contextmanager
def hanging_server() -> Iterator[str]:
    """Yield the URL of a Prefect API that accepts connections and never answers."""
    with socket.socket() as listening:
        listening.bind((LOOPBACK, 0))
        listening.listen()
        yield f"http://{LOOPBACK}:{listening.getsockname()[1]}/api"


@contextmanager
def prefect_server(var: Path) -> Iterator[server.Server]:
    """Start a Prefect server; this process and its children use it as long as the context lasts."""
    with pytest.MonkeyPatch.context() as patch, ExitStack() as stack:
        patch.delenv("PREFECT_API_URL", raising=False)
        stack.callback(server.stop, var)
        migrated_database.seed(var / "prefect")
        found = server.ensure(var)
        patch.setenv("PREFECT_API_URL", found.api_url)
        if "prefect" in sys.modules:
            # Imported already, it has read its settings already.
            from prefect.settings import PREFECT_API_URL, temporary_settings

            stack.enter_context(temporary_settings({PREFECT_API_URL: found.api_url}))
        forget_events_client()
        yield found
        forget_events_client()


def forget_events_client() -> None:
    """End the client that sends the events of this process: it is of the server that was set when it began."""
    if "prefect.events.worker" in sys.modules:
        from prefect.events.worker import EventsWorker

        EventsWorker.drain_all(timeout=10)


@contextmanager
def postgres() -> Iterator[Postgres]:
    """Start a PostgreSQL server with an empty database; skips the test where its programs are missing."""
    binaries = postgres_binaries()
    with tempfile.TemporaryDirectory(prefix="postgres-") as name:
        folder = Path(name)
        found = Postgres(free_port())
        secret = folder / "password"
        secret.write_text(found.password)
        database.initialize(folder / "data", found.user, secret, "--no-sync")
        command = [binaries / "postgres", "-D", folder / "data", *_options(found.port)]
        cluster = _Cluster(found, folder, command)
        cluster.start()
        try:
            yield replace(found, restart=cluster.restart)
        finally:
            cluster.stop()


@dataclass
class _Cluster:
    found: Postgres
    folder: Path
    command: list[str | Path]

    def start(self) -> None:
        log, owner = self.folder / "log", database.account()
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                self.command,
                cwd=self.folder, user=owner and owner.pw_uid, group=owner and owner.pw_gid,
                extra_groups=[] if owner else None,
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=output,
            )  # fmt: skip
        try:
            _wait_for(self.found, self.process, log)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        self.process.send_signal(signal.SIGINT)  # "fast": it ends the connections that are open
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def restart(self) -> None:
        self.stop()
        self.start()


def chromium() -> Path:
    """Return the path of a Chromium; skips the test where there is none."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if found := shutil.which(name):
            return Path(found)
    pytest.skip("no Chromium: apt-get install chromium")


def free_port() -> int:
    """Return a port of loopback that nothing listens on, and that the system gives to no connection of its own.

    A port of the system's own choice may be taken as the near end of a connection before a server binds it.
    """
    while True:
        port = random.SystemRandom().choice(_PORTS)  # hypothesis seeds the shared generator
        if port not in _given and is_free(port):
            _given.add(port)
            return port


def is_free(port: int) -> bool:
    """Tell whether nothing listens on a port of loopback."""
    return ports.is_free(port)


@contextmanager
def open_folder() -> Iterator[Path]:
    """Give a folder that other accounts get through to: PostgreSQL does not run as root, and pytest's are closed."""
    with tempfile.TemporaryDirectory(prefix="open-") as name:
        Path(name).chmod(0o711)
        yield Path(name)


def postgres_binaries() -> Path:
    """Return the folder of PostgreSQL's programs; skips the test where they are missing."""
    try:
        return database.programs()
    except database.DatabaseError:
        pytest.skip("no PostgreSQL server: apt-get install postgresql")


def _options(port: int) -> list[str]:
    settings = {
        "listen_addresses": LOOPBACK, "port": port, "unix_socket_directories": "", "max_connections": 50,
        "shared_buffers": "32MB", "fsync": "off", "synchronous_commit": "off", "full_page_writes": "off",
    }  # fmt: skip
    return [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]


def _wait_for(found: Postgres, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 240
    while True:
        try:
            found.connect().close()
            return
        except psycopg.OperationalError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"PostgreSQL did not start:\n{log.read_text()}") from None
            time.sleep(0.1)
