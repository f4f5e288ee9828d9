"""A background process that outlives its parent, identified by pid and start time because pids are reused."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

STOP_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Process:
    """A process; `born` is its start time as reported by the system."""

    pid: int
    born: str

    def is_alive(self) -> bool:
        """Return whether this process still runs; a zombie does not."""
        _reap(self.pid)
        return start_time(self.pid) == self.born

    def end(self, seconds: float = STOP_SECONDS) -> bool:
        """Stop it by SIGTERM, after `seconds` by SIGKILL; return False if it had ended already."""
        if not self.is_alive():
            return False
        _signal(self.pid, signal.SIGTERM)
        if not self._ends_within(seconds):
            _signal(self.pid, signal.SIGKILL)
            self._ends_within(STOP_SECONDS)
        return True

    def _ends_within(self, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while self.is_alive():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.05)
        return True


def spawn(command: Sequence[str], environment: Mapping[str, str], log: Path, folder: Path | None = None) -> Process:
    """Start a command in its own session and in `folder`, with no standard input and both outputs in a new `log`."""
    with log.open("wb") as output:
        child = subprocess.Popen(
            command,
            env=environment,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            # A background job of a shell ignores SIGINT, and its children would inherit that.
            preexec_fn=_default_signals,  # noqa: PLW1509
        )
    # `Process` reaps the child; with a return code, the destructor does not warn that it still runs.
    child.returncode = 0
    return Process(child.pid, start_time(child.pid) or "gone")


def start_time(pid: int) -> str | None:
    """Return the start time of a running process, usable for comparison only; None if it does not run."""
    stat = Path(f"/proc/{pid}/stat")
    if not Path("/proc/self/stat").exists():
        listing = subprocess.run(["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
        return listing.stdout.strip() or None
    try:
        # The name is in parentheses and may contain any character; state is field 3, start time field 22 (proc(5)).
        fields = stat.read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else fields[19]


def _default_signals() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def _reap(pid: int) -> None:
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
