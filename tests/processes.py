"""Real processes for tests: run a piece of Python, and see which children are left."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path


def python(code: str, *arguments: object, **variables: str) -> str:
    """Run code in a new interpreter and return what it prints; it fails the test where it fails."""
    done = start(code, *arguments, **variables)
    out, _ = done.communicate(timeout=60)
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
