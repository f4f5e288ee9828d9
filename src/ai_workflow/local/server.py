"""The local Prefect server: one per folder, started in the background and reused until it is stopped.

It keeps its SQLite file, log and state under `<var>/prefect/`. Nothing here imports Prefect, which takes a second.
"""

from __future__ import annotations

import http.client
import json
import logging
import os
import re
import ssl
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx

from ai_workflow.errors import AiWorkflowError
from ai_workflow.local import encryption, health, ports, server_environment, server_state, sqlite_repair
from ai_workflow.local.ports import HOST
from ai_workflow.local.process import Process, spawn
from ai_workflow.local.server_state import ServerState
from ai_workflow.local.stack.paths import Place
from ai_workflow.prefect_errors import unreachable
from ai_workflow.runtime.stall_timeout import StallTimeout, group_cpu_ticks

PORT = 4200
START_SECONDS = 60.0
HANG_SECONDS = 10.0
LOG_LINES = 15
# Common to what Prefect says, who looks first, and what the system says of a port taken after that.
_IN_USE = "already in use"
_WORKSPACE = re.compile(r"https://api\.prefect\.cloud/api/accounts/([^/]+)/workspaces/([^/]+)")

log = logging.getLogger(__name__)


class ServerError(AiWorkflowError):
    """The Prefect server cannot be reached or started."""


@dataclass(frozen=True, slots=True)
class Server:
    """A server that answers; `pid` is None if it is not ours, `started` tells whether this call started it."""

    api_url: str
    pid: int | None = None
    started: bool = False

    @property
    def ui_url(self) -> str:
        """The address for a browser."""
        if workspace := _WORKSPACE.match(self.api_url):
            return f"https://app.prefect.cloud/account/{workspace[1]}/workspace/{workspace[2]}"
        return self.api_url.removesuffix("/").removesuffix("/api")


def ui_path(env: Mapping[str, str]) -> str:
    """Return what precedes `/runs` in links of the Prefect UI: the workspace of Prefect Cloud, else nothing."""
    found = Server(env.get("PREFECT_API_URL", ""))
    return found.ui_url if _WORKSPACE.match(found.api_url) else ""


def ensure(var: Path) -> Server:
    """Return the server of `PREFECT_API_URL`, that of the stack, or the one of this folder, started if need be.

    Raises:
        ServerError: `PREFECT_API_URL` or the stack's does not answer, or the server does not come up; with its
            log's end.
        EncryptionError: the database has blocks that the key of this environment does not decrypt.
    """
    if given := _given() or _of_stack(var):
        return given
    with server_state.locked(var) as home:
        if known := server_state.alive(home):
            if _answers(home, known.port, HANG_SECONDS):
                return _server(known)
            log.warning("Prefect server (pid %d) does not answer on port %d and is replaced", known.pid, known.port)
            known.process.end()
        sqlite_repair.set_damage_aside(home / "prefect.db")
        encryption.check(server_environment.database_of(home), encryption.key_of(os.environ))
        return _start(home)


def stop(var: Path) -> bool:
    """Stop the server of this folder; False if none ran."""
    if not server_state.home(var).is_dir():
        return False
    with server_state.locked(var) as home:
        known = server_state.read(home)
        stopped = known.process.end() if known else False
        server_state.path(home).unlink(missing_ok=True)
        return stopped


def own(var: Path) -> Server | None:
    """Return the server that `stop` would stop, whether it answers or not; None if there is none."""
    known = server_state.alive(server_state.home(var))
    return _server(known) if known else None


def status(var: Path) -> Server | None:
    """Return the server that `ensure` would reuse, or None if it would start one.

    Raises:
        ServerError: `PREFECT_API_URL` or the stack's does not answer.
    """
    if given := _given() or _of_stack(var):
        return given
    home = server_state.home(var)
    known = server_state.alive(home)
    return _server(known) if known and _answers(home, known.port, HANG_SECONDS) else None


def _given() -> Server | None:
    url = os.environ.get("PREFECT_API_URL", "").rstrip("/")
    return require(url) if url else None


def require(url: str) -> Server:
    """Return the server at the URL of an API if anything answers there.

    Raises:
        ServerError: nothing does, or it is not a URL.
    """
    try:
        is_url = bool(httpx.URL(url).host) and url.startswith(("http://", "https://"))
    except httpx.InvalidURL:
        is_url = False
    if not is_url:
        raise ServerError(f"PREFECT_API_URL={url} is not an http address. Correct it, or unset it")
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=HANG_SECONDS):  # noqa: S310
            return Server(url)
    except urllib.error.HTTPError:
        # It wants a login, or is not one of ours: Prefect's own client says what is wrong.
        return Server(url)
    except (OSError, http.client.HTTPException) as error:
        if isinstance(getattr(error, "reason", error), ssl.SSLError):
            # Prefect's client trusts certificates of its own choice (PREFECT_API_SSL_CERT_FILE).
            return Server(url)
        remedy = "Start it, correct PREFECT_API_URL, or unset it to use a local server"
        raise ServerError(unreachable(url, error, remedy)) from error


def _of_stack(var: Path) -> Server | None:
    """Return the server of the stack that runs in this folder: `make run` beside `make up` needs no other."""
    state = Place(var).running()
    if state is None:
        return None
    if problem := health.problem(f"{state.options.api_url}/health", HANG_SECONDS):
        raise ServerError(f"the Prefect server of the stack is not well: {problem}. See make status")
    whole = health.problem(f"{state.options.api_url}/admin/version", HANG_SECONDS)
    if whole and "401" in whole and "PREFECT_API_AUTH_STRING" not in os.environ:
        raise ServerError(
            "the Prefect server of the stack asks for a login: set PREFECT_API_AUTH_STRING to the PREFECT_LOGIN that "
            "the stack was started with"
        )
    return Server(state.options.api_url)


def _server(state: ServerState, *, started: bool = False) -> Server:
    return Server(f"http://{HOST}:{state.port}/api", state.pid, started)


def _start(home: Path) -> Server:
    for port in (PORT if ports.is_free(PORT) else ports.free(), ports.free()):
        process = spawn(command(port), server_environment.of(home, port, os.environ), home / "server.log")
        state = ServerState(process.pid, process.born, port)
        server_state.write(home, state)
        try:
            problem = _comes_up(home, port, process)
        except BaseException:
            process.end()
            raise
        if problem is None:
            return _server(state, started=True)
        # Read before the process is ended: what it logs then is a consequence, not the cause.
        lines = (home / "server.log").read_text(errors="replace").splitlines()
        process.end()
        server_state.path(home).unlink(missing_ok=True)
        if not any(_IN_USE in line for line in lines):
            break
    tail = "\n".join(lines[-LOG_LINES:])
    raise ServerError(f"the Prefect server did not come up: {problem}. The end of {home / 'server.log'}:\n{tail}")


def command(port: int) -> list[str]:
    """Return program and arguments of a server on a port."""
    return [sys.executable, "-m", "ai_workflow.local.prefect_server", "--host", HOST, "--port", str(port)]


def _comes_up(home: Path, port: int, process: Process) -> str | None:
    """Wait for a server that is starting for as long as it makes progress; return why it does not answer."""
    timeout = StallTimeout(process.pid, START_SECONDS, cpu=group_cpu_ticks)
    while not _is_up(home, port, sure=True):
        if not process.lives():
            return "it ended"
        if reason := timeout.reason:
            return reason
        time.sleep(0.05)
    return None if process.lives() else "it ended"


def _answers(home: Path, port: int, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not _is_up(home, port, sure=False):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def _is_up(home: Path, port: int, *, sure: bool) -> bool:
    return ports.get(port, "/api/health") == b"true" and _is_of(home, port, sure=sure)


def _is_of(home: Path, port: int, *, sure: bool) -> bool:
    """Two servers that start at once on one port: only one gets it, and the other must not take it for its own.

    One that asks for a login that is not known here tells nothing: where it must be `sure`, it is another one's.
    """
    settings = ports.get(port, "/api/admin/settings", os.environ.get("PREFECT_SERVER_API_AUTH_STRING", ""))
    return json.loads(settings).get("home") in (None, str(home)) if settings else not sure
