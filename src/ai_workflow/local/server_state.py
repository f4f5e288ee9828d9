"""The local Prefect server as recorded in `<var>/prefect/server.json`: its process and its port."""

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
        pid: its process.
        born: the start time of the process, see `ai_workflow.local.process.born`.
        port: where it listens.
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
    """Return the file of the record."""
    return home / "server.json"


@contextmanager
def locked(var: Path) -> Iterator[Path]:
    """Give the folder of the server, created if needed, and keep other processes out within the context."""
    folder = home(var)
    folder.mkdir(parents=True, exist_ok=True)
    with locks.exclusive(folder / "server.lock"):
        yield folder


def read(home: Path) -> ServerState | None:
    """Return the record; None if there is none, or if it is damaged."""
    try:
        state = json.loads(path(home).read_text())
        return ServerState(int(state["pid"]), str(state["born"]), int(state["port"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def alive(home: Path) -> ServerState | None:
    """Return the record if its process runs."""
    known = read(home)
    return known if known and known.process.lives() else None


def write(home: Path, state: ServerState) -> None:
    """Write the record atomically."""
    fresh = path(home).with_suffix(".new")
    fresh.write_text(json_text.line(asdict(state), sort_keys=False))
    fresh.replace(path(home))
