"""A peer's own Python environment: made on first use with pinned versions, kept in the user's cache."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.measure import BenchmarkError

_INSTALLED = "installed.txt"
_SECONDS = 900
_TAIL = 400


class Skipped(BenchmarkError):
    """A peer cannot be installed or does not start; the others are measured without it."""


def cache() -> Path:
    """Return the folder that the environments lie in."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ai-workflow-bench"


def python(name: str, requirements: Sequence[str]) -> Path:
    """Return the Python of an environment that holds just these requirements.

    Raises:
        Skipped: they cannot be installed; with what the installer said last.
    """
    folder = cache() / name
    interpreter, wanted = folder / "bin" / "python", "\n".join([sys.version, *requirements]) + "\n"
    if interpreter.exists() and _read(folder / _INSTALLED) == wanted:
        return interpreter
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    uv = shutil.which("uv", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]))
    if uv:
        _run([uv, "venv", "--quiet", "--python", sys.executable, str(folder)])
        _run([uv, "pip", "install", "--quiet", "--python", str(interpreter), *requirements])
    else:
        _run([sys.executable, "-m", "venv", str(folder)])
        _run([str(interpreter), "-m", "pip", "install", "--quiet", "--retries", "1", *requirements])
    (folder / _INSTALLED).write_text(wanted)
    return interpreter


def _run(command: Sequence[str]) -> None:
    try:
        # Out of this folder, whose pyproject.toml is none of the peer's business.
        done = subprocess.run(
            command,
            cwd=cache(),
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired:
        raise Skipped(f"`{' '.join(command)}` took more than {_SECONDS} s") from None
    if done.returncode:
        raise Skipped(f"not installed: {' '.join((done.stderr or done.stdout).split())[-_TAIL:]}")


def _read(file: Path) -> str | None:
    return file.read_text() if file.exists() else None
