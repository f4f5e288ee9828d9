"""Run commands that must end with an error: a server that starts instead fails the test at once."""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
import time
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

from tests.patience import PATIENCE

# A busy machine takes minutes for what takes seconds; only a failing test waits this long.
_LISTENING = "0A"


def run(command: list[str], **options: Any) -> CompletedProcess[str]:
    """Return the exit code and the output of a command.

    Args:
        command: program and arguments.
        options: of `subprocess.Popen`.

    Raises:
        AssertionError: the command listens on a port, or does not end.
    """
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, **options) as process:
            try:
                _wait(process)
            finally:
                process.kill()
        out.seek(0)
        err.seek(0)
        return CompletedProcess(command, process.returncode, out.read(), err.read())


def _wait(process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + PATIENCE
    while process.poll() is None:
        assert not _listens(process.pid), "it listens on a port instead of ending"
        assert time.monotonic() < deadline, "it does not end"
        time.sleep(0.05)


def _listens(pid: int) -> bool:
    """Return whether a process listens on a TCP port (proc_pid_net: the fourth field is the state, 0A LISTEN)."""
    listening = set()
    for name in ("tcp", "tcp6"):
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{pid}/net/{name}").read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == _LISTENING:
                    listening.add(f"socket:[{fields[9]}]")
    with contextlib.suppress(OSError):
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                if str(entry.readlink()) in listening:
                    return True
    return False
