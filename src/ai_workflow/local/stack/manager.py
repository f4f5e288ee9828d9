"""The process manager, supervisord, which restarts the services of a stack.

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
from ai_workflow.local.stack.paths import LAUNCHER, MARK, StackOptions, StackPaths
from ai_workflow.local.stack.services import Service

# A service that ends sooner failed to start; the manager waits a second longer before each further try.
START_SECONDS = 3
# Tries for hours before the state is FATAL.
RETRIES = 500
LOG_BYTES = 10_000_000
LOGS = 3
# The variable with the path of the manager's socket.
SOCKET = "AIW_STACK_SOCKET"


class ManagerError(AiWorkflowError):
    """The process manager does not answer, or refuses a request."""


@dataclass(frozen=True, slots=True)
class ServiceStatus:
    """State of a service: RUNNING, STARTING, BACKOFF, STOPPED, EXITED or FATAL, with its pid and start time."""

    name: str
    state: str
    pid: int
    since: int


def start(paths: StackPaths, options: StackOptions, environment: Mapping[str, str]) -> Process:
    """Start the manager in the folder of the stack, without its services."""
    paths.configuration.write_text(configuration(options))
    paths.launcher.write_bytes(os.fsencode(launcher()))
    paths.launcher.chmod(0o700)
    # -P: the current folder is not on the import path.
    command = [sys.executable, "-P", "-m", "supervisor.supervisord", "--nodaemon", "-c", paths.configuration.name]
    variables = {**environment, MARK: str(paths.folder), SOCKET: str(paths.socket)}
    return spawn(command, variables, paths.folder / "supervisord.out", paths.folder)


class Manager:
    """Client of a running manager; every method raises ManagerError if it does not answer."""

    def __init__(self, paths: StackPaths) -> None:
        self._socket = paths.socket

    def start(self, service: Service) -> None:
        """Start a service, and restart it whenever it ends."""
        self._call("startProcess", service.name, False)

    def find(self) -> dict[str, ServiceStatus]:
        """Return the services by name."""
        processes = cast("list[dict[str, Any]]", self._call("getAllProcessInfo"))
        return {
            info["name"]: ServiceStatus(info["name"], info["statename"], info["pid"], info["start"])
            for info in processes
        }

    def _call(self, method: str, *arguments: object) -> object:
        # The transport does not recover from a failed connection, so each call opens a new one.
        transport = SupervisorTransport(None, None, f"unix://{self._socket}")
        api = xmlrpc.client.ServerProxy("http://127.0.0.1", transport=transport)
        try:
            return getattr(api.supervisor, method)(*arguments)
        except (OSError, xmlrpc.client.Error, http.client.HTTPException) as error:
            raise ManagerError(f"the process manager does not answer to {method}: {error}") from error
        finally:
            transport.close()


def configuration(options: StackOptions) -> str:
    """Return the configuration of the manager, with every path relative to the folder of the stack.

    The format has no quoting: in a path, ` #` and ` ;` begin a comment and `%` an expansion, and the manager would
    delete the file named by a truncated socket path. The socket path comes from the environment, which is not parsed.
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
    """Return the script that starts the service named by its argument, in the folder of the project."""
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
