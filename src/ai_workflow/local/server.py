"""The local Prefect server: one per folder, started in the background and reused until it is stopped.

Its SQLite file, log and state are in `<var>/prefect/`. This module does not import Prefect, which takes a second.
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
from ai_workflow.local.stack.paths import StackPaths
from ai_workflow.prefect_errors import unreachable
from ai_workflow.runtime.stall_timeout import StallTimeout, group_cpu_ticks

PORT = 4200
START_SECONDS = 60.0
HANG_SECONDS = 10.0
LOG_LINES = 15
# Common to the messages of Prefect, which checks the port first, and of the system, if the port is taken after that.
_IN_USE = "already in use"
_WORKSPACE = re.compile(r"https://api\.prefect\.cloud/api/accounts/([^/]+)/workspaces/([^/]+)")

log = logging.getLogger(__name__)


class ServerError(AiWorkflowError):
    """The Prefect server cannot be reached or started."""


@dataclass(frozen=True, slots=True)
class Server:
    """A server that answers.

    Args:
        api_url: the URL of its API.
        pid: its process; None for a server that this project did not start.
        started: whether the current call started it.
    """

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
    """Return the part before `/runs` in links of the Prefect UI: the workspace of Prefect Cloud, else empty."""
    configured = Server(env.get("PREFECT_API_URL", ""))
    return configured.ui_url if _WORKSPACE.match(configured.api_url) else ""


def ensure(var: Path) -> Server:
    """Return the server of `PREFECT_API_URL`, of the stack, or of this folder, which is started if necessary.

    Raises:
        ServerError: the server of `PREFECT_API_URL` or of the stack does not answer, or a local one does not start.
        EncryptionError: the database has blocks that the key of this environment does not decrypt.
    """
    if existing := _from_variable() or _from_stack(var):
        return existing
    with server_state.locked(var) as home:
        if state := server_state.running(home):
            if _answers(home, state.port, HANG_SECONDS):
                return _server(state)
            log.warning("Prefect server (pid %d) does not answer on port %d and is replaced", state.pid, state.port)
            state.process.end()
        sqlite_repair.set_aside_if_corrupt(home / "prefect.db")
        encryption.check(server_environment.database_url(home), encryption.configured_key(os.environ))
        return _start(home)


def stop(var: Path) -> bool:
    """Stop the server of this folder; return False if none ran."""
    if not server_state.home(var).is_dir():
        return False
    with server_state.locked(var) as home:
        state = server_state.read(home)
        stopped = state.process.end() if state else False
        server_state.path(home).unlink(missing_ok=True)
        return stopped


def local_server(var: Path) -> Server | None:
    """Return the running server of this folder, whether it answers or not, or None."""
    state = server_state.running(server_state.home(var))
    return _server(state) if state else None


def status(var: Path) -> Server | None:
    """Return the server that `ensure` would reuse, or None if it would start one.

    Raises:
        ServerError: the server of `PREFECT_API_URL` or of the stack does not answer.
    """
    if existing := _from_variable() or _from_stack(var):
        return existing
    home = server_state.home(var)
    state = server_state.running(home)
    return _server(state) if state and _answers(home, state.port, HANG_SECONDS) else None


def _from_variable() -> Server | None:
    url = os.environ.get("PREFECT_API_URL", "").rstrip("/")
    return require(url) if url else None


def require(url: str) -> Server:
    """Return the server with the API at a URL.

    Raises:
        ServerError: nothing answers there, or it is not a URL.
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
        # It requires a login, or is another server: Prefect's client reports that.
        return Server(url)
    except (OSError, http.client.HTTPException) as error:
        if isinstance(getattr(error, "reason", error), ssl.SSLError):
            # Prefect's client may trust other certificates (PREFECT_API_SSL_CERT_FILE).
            return Server(url)
        remedy = "Start it, correct PREFECT_API_URL, or unset it to use a local server"
        raise ServerError(unreachable(url, error, remedy)) from error


def _from_stack(var: Path) -> Server | None:
    """Return the server of the stack that runs in this folder, or None."""
    state = StackPaths(var).running_state()
    if state is None:
        return None
    if problem := health.problem(f"{state.options.api_url}/health", HANG_SECONDS):
        raise ServerError(f"the Prefect server of the stack is not healthy: {problem}. See make status")
    refusal = health.problem(f"{state.options.api_url}/admin/version", HANG_SECONDS)
    if refusal and "401" in refusal and "PREFECT_API_AUTH_STRING" not in os.environ:
        raise ServerError(
            "the Prefect server of the stack requires a login. Set PREFECT_API_AUTH_STRING to the PREFECT_LOGIN that "
            "the stack was started with"
        )
    return Server(state.options.api_url)


def _server(state: ServerState, *, started: bool = False) -> Server:
    return Server(f"http://{HOST}:{state.port}/api", state.pid, started)


def _start(home: Path) -> Server:
    for port in (PORT if ports.is_free(PORT) else ports.find_free(), ports.find_free()):
        process = spawn(command(port), server_environment.build(home, port, os.environ), home / "server.log")
        state = ServerState(process.pid, process.born, port)
        server_state.write(home, state)
        try:
            problem = _wait_until_up(home, port, process)
        except BaseException:
            process.end()
            raise
        if problem is None:
            return _server(state, started=True)
        # Read before the process is stopped, because its last lines would then hide the cause.
        lines = (home / "server.log").read_text(errors="replace").splitlines()
        process.end()
        server_state.path(home).unlink(missing_ok=True)
        if not any(_IN_USE in line for line in lines):
            break
    tail = "\n".join(lines[-LOG_LINES:])
    raise ServerError(f"the Prefect server did not start: {problem}. The end of {home / 'server.log'}:\n{tail}")


def command(port: int) -> list[str]:
    """Return the command of a server on a port."""
    return [sys.executable, "-m", "ai_workflow.local.prefect_server", "--host", HOST, "--port", str(port)]


def _wait_until_up(home: Path, port: int, process: Process) -> str | None:
    """Wait for a starting server as long as it makes progress; return why it does not answer, or None."""
    timeout = StallTimeout(process.pid, START_SECONDS, cpu=group_cpu_ticks)
    while not _is_up(home, port, strict=True):
        if not process.is_alive():
            return "it ended"
        if reason := timeout.reason:
            return reason
        time.sleep(0.05)
    return None if process.is_alive() else "it ended"


def _answers(home: Path, port: int, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not _is_up(home, port, strict=False):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def _is_up(home: Path, port: int, *, strict: bool) -> bool:
    return ports.get(port, "/api/health") == b"true" and _uses_folder(home, port, strict=strict)


def _uses_folder(home: Path, port: int, *, strict: bool) -> bool:
    """Return whether the server on a port uses a folder: two folders may start a server on the same port at once.

    A server that requires an unknown login does not show its folder; it is accepted unless `strict`.
    """
    settings = ports.get(port, "/api/admin/settings", os.environ.get("PREFECT_SERVER_API_AUTH_STRING", ""))
    return json.loads(settings).get("home") in (None, str(home)) if settings else not strict
