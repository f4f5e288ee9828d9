"""The record of the local Prefect server, `<var>/prefect/server.json`: process and port."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from ai_workflow import json_text
from ai_workflow.local.process import Process
from ai_workflow.storage import locks


@dataclass(frozen=True, slots=True)
class ServerState:
    """A started server.

    Args:
        pid: the process ID.
        born: the start time of the process, see `ai_workflow.local.process.born`.
        port: the port that it listens on.
    """

    pid: int
    born: str
    port: int

    @property
    def process(self) -> Process:
        """The process of the server."""
        return Process(self.pid, self.born)


def home(var: Path) -> Path:
    """Return the folder of the server."""
    return (var / "prefect").resolve()


def path(home: Path) -> Path:
    """Return the path of the record."""
    return home / "server.json"


@contextmanager
def locked(var: Path) -> Iterator[Path]:
    """Yield the folder of the server, created if necessary, under an exclusive lock."""
    folder = home(var)
    folder.mkdir(parents=True, exist_ok=True)
    with locks.exclusive(folder / "server.lock"):
        yield folder


def read(home: Path) -> ServerState | None:
    """Return the record, None if it is missing or corrupt."""
    try:
        state = json.loads(path(home).read_text())
        return ServerState(int(state["pid"]), str(state["born"]), int(state["port"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def running(home: Path) -> ServerState | None:
    """Return the record if its process runs, else None."""
    state = read(home)
    return state if state and state.process.is_alive() else None


def write(home: Path, state: ServerState) -> None:
    """Write the record atomically."""
    temporary = path(home).with_suffix(".new")
    temporary.write_text(json_text.line(asdict(state), sort_keys=False))
    temporary.replace(path(home))
