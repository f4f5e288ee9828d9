"""A background process that outlives its parent, known by pid and start time: a recycled pid is not mistaken for it."""

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
    """One process; `born` is what the system says of its start."""

    pid: int
    born: str

    def lives(self) -> bool:
        """Tell whether this very process still runs; a zombie does not."""
        _reap(self.pid)
        return born(self.pid) == self.born

    def end(self, seconds: float = STOP_SECONDS) -> bool:
        """Stop it: SIGTERM, some seconds, SIGKILL. False if it was gone already."""
        if not self.lives():
            return False
        _signal(self.pid, signal.SIGTERM)
        if not self._gone_within(seconds):
            _signal(self.pid, signal.SIGKILL)
            self._gone_within(STOP_SECONDS)
        return True

    def _gone_within(self, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while self.lives():
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
            # A background job of a shell ignores SIGINT and would hand that down.
            preexec_fn=_default_signals,  # noqa: PLW1509
        )
    # Let go of it: `Process` reaps it, and the destructor need not warn of a child still running.
    child.returncode = 0
    return Process(child.pid, born(child.pid) or "gone")


def born(pid: int) -> str | None:
    """Return the start time of a running process, in a form that is only good for comparing; None if none runs."""
    stat = Path(f"/proc/{pid}/stat")
    if not Path("/proc/self/stat").exists():
        shown = subprocess.run(["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
        return shown.stdout.strip() or None
    try:
        # The name stands in brackets and may itself hold any sign; state is field 3, start time field 22 (proc(5)).
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
