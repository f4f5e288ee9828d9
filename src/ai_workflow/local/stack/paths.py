"""Where a stack keeps what it needs: `<var>/stack/`, and what it was started with."""

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

# A Unix socket's path has 108 bytes, its closing zero included (unix(7)); supervisord adds a pid of its own.
_SOCKET_BYTES = 95
# The variable that every process of a stack bears, and by which it is found again.
MARK = "AIW_STACK"
# The script that starts one service.
LAUNCHER = "launch"


@dataclass(frozen=True, slots=True)
class Options:
    """What a stack was started with.

    Args:
        config: the pipeline file that is served, and that deployments run by default.
        environment: which `config/<environment>.yaml` applies.
        postgresql: whether Prefect's database is a PostgreSQL of the stack's own, not a file.
        offset: what is added to every port.
    """

    config: str | None = None
    environment: str | None = None
    postgresql: bool = False
    offset: int = 0

    @property
    def services(self) -> tuple[Service, ...]:
        """What is started, in its order: all that is installed."""
        installed = {service.name for service in SERVICES if service.program}
        ours = tuple(each for each in SERVICES if each.name in installed and each.guards in {None, *installed})
        return ((POSTGRESQL,) if self.postgresql else ()) + ours

    def port(self, service: Service) -> int:
        """Where a service listens."""
        assert service.port is not None
        return service.port + self.offset

    @property
    def api_url(self) -> str:
        """The address of the Prefect server."""
        return f"http://{HOST}:{self.port(self.named('server'))}/api"

    def guard_of(self, service: Service) -> Service | None:
        """Return the guard of a service, None if it has none."""
        return next((each for each in self.services if each.guards == service.name), None)

    def named(self, name: str) -> Service:
        """Return one of the services by its name."""
        return next(service for service in self.services if service.name == name)


@dataclass(frozen=True, slots=True)
class State:
    """A stack that was started.

    Args:
        manager: its process manager.
        options: of the start.
        fingerprint: of the variables and settings of the start; None if an earlier release started it.
    """

    manager: Process
    options: Options
    fingerprint: Fingerprint | None = None


class Place:
    """The folder of a stack; `var` is that of the checkout."""

    def __init__(self, var: Path) -> None:
        self.var = var.resolve()
        self.folder = self.var / "stack"

    def of(self, service: Service) -> Path:
        """Return where a service keeps its data."""
        return self.folder / service.name

    def log(self, service: Service) -> Path:
        """Return where a service says what it does."""
        return self.folder / "logs" / f"{service.name}.log"

    @property
    def configuration(self) -> Path:
        """The process manager's configuration."""
        return self.folder / "supervisord.conf"

    @property
    def launcher(self) -> Path:
        """The script by which the process manager starts a service."""
        return self.folder / LAUNCHER

    @property
    def socket(self) -> Path:
        """Where the process manager is talked to, by this account only."""
        wanted = self.folder / "supervisor.sock"
        if len(str(wanted).encode()) <= _SOCKET_BYTES:
            return wanted
        name = hashlib.sha256(str(self.folder).encode()).hexdigest()[:16]
        return Path(tempfile.gettempdir()) / f"ai-workflow-{name}.sock"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep others from starting and ending this stack meanwhile; released by the system if this process dies."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with locks.exclusive(self.folder / "lock"):
            yield

    def read(self) -> State | None:
        """Return what was started here, whether it still runs or not; None if nothing was."""
        try:
            found = json.loads(self._file.read_text())
            kept = found.get("fingerprint")
            fingerprint = Fingerprint(kept["key"], kept["digests"]) if kept else None
            return State(Process(int(found["pid"]), str(found["born"])), Options(**found["options"]), fingerprint)
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def running(self) -> State | None:
        """Return what runs here, None if nothing does."""
        found = self.read()
        return found if found and found.manager.lives() else None

    def write(self, state: State) -> None:
        """Write the record of a start; only its owner may read it."""
        record: dict[str, object] = {**asdict(state.manager), "options": asdict(state.options)}
        if state.fingerprint:
            record["fingerprint"] = asdict(state.fingerprint)
        fresh = self._file.with_suffix(".new")
        fresh.unlink(missing_ok=True)
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(json_text.line(record, sort_keys=False))
        fresh.replace(self._file)

    @property
    def password_file(self) -> Path:
        """The file with the password of Prometheus and Alertmanager: a given one, else the stack's own."""
        return self.given_password if self.given_password.exists() else self.folder / "monitoring-password"

    def password(self) -> str:
        """Return the password of Prometheus and Alertmanager, empty if there is none yet."""
        try:
            return self.password_file.read_text().rstrip("\n")
        except FileNotFoundError:
            return ""

    @property
    def given_password(self) -> Path:
        """The file with the password that `make up` was given; it is removed with the stack's end."""
        return self.folder / "monitoring-password-given"

    def forget(self) -> None:
        """Remove what belongs to running processes; data and logs stay."""
        left = [self._file, self.configuration, self.launcher, self.socket, self.folder / "supervisord.pid"]
        for path in [*left, self.given_password, *self.folder.glob("*/*-token"), *self.folder.glob("*/web.yml")]:
            path.unlink(missing_ok=True)

    @property
    def _file(self) -> Path:
        return self.folder / "stack.json"
