"""Folder of a stack, `<var>/stack/`, and the record of its start."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from ai_workflow import json_text
from ai_workflow.local.ports import HOST
from ai_workflow.local.process import Process
from ai_workflow.local.stack.fingerprint import Fingerprint
from ai_workflow.local.stack.services import POSTGRESQL, SERVICES, Service
from ai_workflow.storage import locks

# The path of a Unix socket has 108 bytes at most, with its closing zero (unix(7)); supervisord appends a pid.
_SOCKET_BYTES = 95
# The variable that identifies the processes of a stack.
MARK = "AIW_STACK"
# The script that starts one service.
LAUNCHER = "launch"


@dataclass(frozen=True, slots=True)
class StackOptions:
    """Options of the start of a stack.

    Args:
        config: the pipeline file that is served, and the default of deployments.
        environment: the name of a file `config/NAME.yaml`.
        postgresql: whether Prefect uses a PostgreSQL server of the stack instead of SQLite.
        offset: a number added to every port.
    """

    config: str | None = None
    environment: str | None = None
    postgresql: bool = False
    offset: int = 0

    @property
    def services(self) -> tuple[Service, ...]:
        """The installed services in start order."""
        installed = {service.name for service in SERVICES if service.program}
        guarded = {None, *installed}
        services = tuple(each for each in SERVICES if each.name in installed and each.guards in guarded)
        return ((POSTGRESQL,) if self.postgresql else ()) + services

    def port(self, service: Service) -> int:
        """Return the port of a service."""
        assert service.port is not None
        return service.port + self.offset

    @property
    def api_url(self) -> str:
        """The URL of the API of the Prefect server."""
        return f"http://{HOST}:{self.port(self.named('server'))}/api"

    def guard_of(self, service: Service) -> Service | None:
        """Return the guard of a service, None if it has none."""
        return next((each for each in self.services if each.guards == service.name), None)

    def named(self, name: str) -> Service:
        """Return a service by name."""
        return next(service for service in self.services if service.name == name)


@dataclass(frozen=True, slots=True)
class StackState:
    """The record of a started stack.

    Args:
        manager: the process manager.
        options: the options of the start.
        fingerprint: the fingerprint of variables and settings; None if an earlier release started the stack.
    """

    manager: Process
    options: StackOptions
    fingerprint: Fingerprint | None = None


class StackPaths:
    """Files in the folder of a stack, `<var>/stack/`."""

    def __init__(self, var: Path) -> None:
        self.var = var.resolve()
        self.folder = self.var / "stack"

    def data_folder(self, service: Service) -> Path:
        """Return the data folder of a service."""
        return self.folder / service.name

    def log_file(self, service: Service) -> Path:
        """Return the log file of a service."""
        return self.folder / "logs" / f"{service.name}.log"

    @property
    def configuration(self) -> Path:
        """The configuration file of the process manager."""
        return self.folder / "supervisord.conf"

    @property
    def launcher(self) -> Path:
        """The script that starts a service for the process manager."""
        return self.folder / LAUNCHER

    @property
    def socket(self) -> Path:
        """The Unix socket of the process manager, accessible by this account only."""
        path = self.folder / "supervisor.sock"
        if len(str(path).encode()) <= _SOCKET_BYTES:
            return path
        name = hashlib.sha256(str(self.folder).encode()).hexdigest()[:16]
        return Path(tempfile.gettempdir()) / f"ai-workflow-{name}.sock"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the lock of this stack; the system releases it if this process dies."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with locks.exclusive(self.folder / "lock"):
            yield

    def read_state(self) -> StackState | None:
        """Return the record of the stack, whether it still runs or not; None if there is none."""
        try:
            record = json.loads(self._state_file.read_text())
            stored = record.get("fingerprint")
            fingerprint = Fingerprint(stored["key"], stored["digests"]) if stored else None
            return StackState(
                Process(int(record["pid"]), str(record["born"])), StackOptions(**record["options"]), fingerprint
            )
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def running_state(self) -> StackState | None:
        """Return the record of the running stack, None if none runs."""
        state = self.read_state()
        return state if state and state.manager.is_alive() else None

    def write_state(self, state: StackState) -> None:
        """Write the record of a start, readable by its owner only."""
        record: dict[str, object] = {**asdict(state.manager), "options": asdict(state.options)}
        if state.fingerprint:
            record["fingerprint"] = asdict(state.fingerprint)
        temporary = self._state_file.with_suffix(".new")
        temporary.unlink(missing_ok=True)
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(json_text.line(record, sort_keys=False))
        temporary.replace(self._state_file)

    @property
    def password_file(self) -> Path:
        """The file with the password of Prometheus and Alertmanager: the given one, else a generated one."""
        return self.given_password_file if self.given_password_file.exists() else self.folder / "monitoring-password"

    def password(self) -> str:
        """Return the password of Prometheus and Alertmanager, empty if there is none yet."""
        try:
            return self.password_file.read_text().rstrip("\n")
        except FileNotFoundError:
            return ""

    @property
    def given_password_file(self) -> Path:
        """The file with MONITORING_PASSWORD of `make up`; it is removed when the stack ends."""
        return self.folder / "monitoring-password-given"

    def remove_runtime_files(self) -> None:
        """Remove the files of running processes; data and logs are kept."""
        files = [self._state_file, self.configuration, self.launcher, self.socket, self.folder / "supervisord.pid"]
        for path in [*files, self.given_password_file, *self.folder.glob("*/*-token"), *self.folder.glob("*/web.yml")]:
            path.unlink(missing_ok=True)

    @property
    def _state_file(self) -> Path:
        return self.folder / "stack.json"
