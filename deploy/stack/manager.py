"""The process manager: supervisord, which starts a stack's services again when they die.

Its configuration: http://supervisord.org/configuration.html, its API: http://supervisord.org/api.html.
"""

from __future__ import annotations

import http.client
import os
import sys
import xmlrpc.client
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from supervisor.xmlrpc import SupervisorTransport

from ai_workflow.errors import AiWorkflowError
from deploy.process import Process, spawn
from deploy.stack.place import MARK, Options, Place
from deploy.stack.services import Service

ROOT = Path(__file__).resolve().parents[2]
# As young as this, it did not come up: the manager waits a second longer before each further try.
START_SECONDS = 3
# For hours, then: whoever looks by then finds it in `make status`.
RETRIES = 500
LOG_BYTES = 10_000_000
LOGS = 3


class ManagerError(AiWorkflowError):
    """The process manager does not do what it is asked to."""


@dataclass(frozen=True, slots=True)
class Found:
    """What the manager says of a service: `state` is RUNNING, STARTING, BACKOFF, STOPPED, EXITED or FATAL."""

    name: str
    state: str
    pid: int
    since: int


def start(place: Place, options: Options, environment: Mapping[str, str]) -> Process:
    """Start the manager, with none of its services yet."""
    place.configuration.write_text(configuration(place, options))
    command = [sys.executable, "-m", "supervisor.supervisord", "--nodaemon", "-c", str(place.configuration)]
    return spawn(command, {**environment, MARK: str(place.folder)}, place.folder / "supervisord.out")


class Manager:
    """A manager that runs.

    Raises:
        ManagerError: it does not answer; from every method.
    """

    def __init__(self, place: Place) -> None:
        self._socket = place.socket

    def start(self, service: Service) -> None:
        """Have a service started, and started again whenever it dies."""
        self._ask("startProcess", service.name, False)

    def find(self) -> dict[str, Found]:
        """Return its services by name."""
        found = cast("list[dict[str, Any]]", self._ask("getAllProcessInfo"))
        return {one["name"]: Found(one["name"], one["statename"], one["pid"], one["start"]) for one in found}

    def _ask(self, method: str, *arguments: object) -> object:
        # A new connection each time: the transport does not recover from one that failed.
        transport = SupervisorTransport(None, None, f"unix://{self._socket}")
        api = xmlrpc.client.ServerProxy("http://127.0.0.1", transport=transport)
        try:
            return getattr(api.supervisor, method)(*arguments)
        except (OSError, xmlrpc.client.Error, http.client.HTTPException) as error:
            raise ManagerError(f"the process manager does not answer to {method}: {error}") from error
        finally:
            transport.close()


def configuration(place: Place, options: Options) -> str:
    """Return its configuration: each service is started when it is asked to, and again whenever it dies."""
    main: dict[str, object] = {
        "logfile": _literal(place.folder / "supervisord.log"), "pidfile": _literal(place.folder / "supervisord.pid"),
        "logfile_maxbytes": LOG_BYTES, "logfile_backups": LOGS, "nodaemon": "true", "silent": "true",
        **({"user": "root"} if os.geteuid() == 0 else {}),
    }  # fmt: skip
    sections: dict[str, dict[str, object]] = {
        "supervisord": main,
        "unix_http_server": {"file": _literal(place.socket), "chmod": "0700"},
        "rpcinterface:supervisor": {
            "supervisor.rpcinterface_factory": "supervisor.rpcinterface:make_main_rpcinterface"
        },
    }
    for rank, service in enumerate(options.services):
        sections[f"program:{service.name}"] = _program(place, service, rank)
    return "\n".join(
        f"[{name}]\n" + "".join(f"{key}={value}\n" for key, value in section.items())
        for name, section in sections.items()
    )


def _program(place: Place, service: Service, rank: int) -> dict[str, object]:
    launcher = f'"{_literal(Path(sys.executable))}" -m deploy.stack.launch {service.name}'
    return {
        "command": launcher, "directory": _literal(ROOT), "priority": rank + 1,
        "autostart": "false", "autorestart": "true", "startsecs": START_SECONDS, "startretries": RETRIES,
        "stopsignal": service.stop.name.removeprefix("SIG"), "stopwaitsecs": service.stop_seconds,
        "stopasgroup": str(service.stop_group).lower(), "killasgroup": "true",
        "redirect_stderr": "true", "stdout_logfile": _literal(place.log(service)),
        "stdout_logfile_maxbytes": LOG_BYTES, "stdout_logfile_backups": LOGS,
    }  # fmt: skip


def _literal(path: Path) -> str:
    """Return a path as the configuration takes it, where % begins an expansion."""
    return str(path).replace("%", "%%")
