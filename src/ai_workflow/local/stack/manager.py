"""The process manager: supervisord, which starts a stack's services again when they die.

Its configuration: http://supervisord.org/configuration.html, its API: http://supervisord.org/api.html.
"""

from __future__ import annotations

import http.client
import os
import shlex
import sys
import xmlrpc.client
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from supervisor.xmlrpc import SupervisorTransport

from ai_workflow.config import project
from ai_workflow.errors import AiWorkflowError
from ai_workflow.local.process import Process, spawn
from ai_workflow.local.stack.paths import LAUNCHER, MARK, Options, Place
from ai_workflow.local.stack.services import Service

# As young as this, it did not come up: the manager waits a second longer before each further try.
START_SECONDS = 3
# For hours, then: whoever looks by then finds it in `make status`.
RETRIES = 500
LOG_BYTES = 10_000_000
LOGS = 3
# The variable with the path of the manager's socket.
SOCKET = "AIW_STACK_SOCKET"


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
    """Start the manager in the folder of the stack, with none of its services running yet."""
    place.configuration.write_text(configuration(options))
    place.launcher.write_bytes(os.fsencode(launcher()))
    place.launcher.chmod(0o700)
    # -P: the folders of the stack are not packages to import.
    command = [sys.executable, "-P", "-m", "supervisor.supervisord", "--nodaemon", "-c", place.configuration.name]
    given = {**environment, MARK: str(place.folder), SOCKET: str(place.socket)}
    return spawn(command, given, place.folder / "supervisord.out", place.folder)


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


def configuration(options: Options) -> str:
    """Return the configuration of the manager, with every path relative to the folder of the stack.

    Its format has no quoting: in a path, ` #` and ` ;` begin a comment and `%` an expansion, and the manager deletes
    the file that is left of the path of its socket. The socket's path comes from the environment, which is not parsed.
    """
    main: dict[str, object] = {
        "logfile": "supervisord.log", "pidfile": "supervisord.pid",
        "logfile_maxbytes": LOG_BYTES, "logfile_backups": LOGS, "nodaemon": "true", "silent": "true",
        **({"user": "root"} if os.geteuid() == 0 else {}),
    }  # fmt: skip
    sections: dict[str, dict[str, object]] = {
        "supervisord": main,
        "unix_http_server": {"file": f"%(ENV_{SOCKET})s", "chmod": "0700"},
        "rpcinterface:supervisor": {
            "supervisor.rpcinterface_factory": "supervisor.rpcinterface:make_main_rpcinterface"
        },
    }
    for rank, service in enumerate(options.services):
        sections[f"program:{service.name}"] = _program(service, rank)
    return "\n".join(
        f"[{name}]\n" + "".join(f"{key}={value}\n" for key, value in section.items())
        for name, section in sections.items()
    )


def launcher() -> str:
    """Return the script that starts one service, named by its argument, in the folder of the project."""
    folder, python = shlex.quote(str(project.root())), shlex.quote(sys.executable)
    return f'#!/bin/sh\ncd -- {folder} && exec {python} -m ai_workflow.local.stack.launch "$1"\n'


def _program(service: Service, rank: int) -> dict[str, object]:
    return {
        "command": f"./{LAUNCHER} {service.name}", "priority": rank + 1,
        "autostart": "false", "autorestart": "true", "startsecs": START_SECONDS, "startretries": RETRIES,
        "stopsignal": service.stop.name.removeprefix("SIG"), "stopwaitsecs": service.stop_seconds,
        "stopasgroup": str(service.stop_group).lower(), "killasgroup": "true",
        "redirect_stderr": "true", "stdout_logfile": f"logs/{service.name}.log",
        "stdout_logfile_maxbytes": LOG_BYTES, "stdout_logfile_backups": LOGS,
    }  # fmt: skip
