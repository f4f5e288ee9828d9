"""Real processes for tests: run a piece of Python, and see which children are left."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

_PORT = re.compile(r"listening on http://[^ ]*:(\d+)")


class ServerLog:
    """The stderr of a server process, read by a thread: its `lines` so far, and the `port` that one of them names."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.lines: list[str] = []
        self.port = 0
        self._process = process
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        assert self._process.stderr is not None
        with self._process.stderr as stream:
            for line in stream:
                self.lines.append(line)
                if match := _PORT.search(line):
                    self.port = int(match[1])

    def join(self) -> None:
        """Wait until the last line of an ended process is read."""
        self._thread.join(5)


def python(code: str, *arguments: object, **variables: str) -> str:
    """Run code in a new interpreter and return what it prints; it fails the test where it fails."""
    done = start(code, *arguments, **variables)
    out, _ = done.communicate(timeout=240)
    assert done.returncode == 0, out
    return out.strip()


def start(code: str, *arguments: object, **variables: str) -> subprocess.Popen[str]:
    """Start code in a new interpreter; its stdout and stderr are one pipe."""
    return subprocess.Popen(
        command(code, *arguments),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | variables,
    )


def command(code: str, *arguments: object) -> list[str]:
    """Return the command line that runs code in a new interpreter."""
    return [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)]


def children() -> set[int]:
    """Return the ids of this process's children, zombies included."""
    lists = Path("/proc/self/task").glob("*/children")
    return {int(child) for found in lists for child in found.read_text().split()}
