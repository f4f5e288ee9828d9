"""Python environments of other model servers: created on first use with pinned versions, in the user's cache."""

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


class PeerUnavailableError(BenchmarkError):
    """A model server cannot be installed or does not start; the benchmark goes on without it."""


def cache() -> Path:
    """Return the folder of the environments."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ai-workflow-bench"


def python(name: str, requirements: Sequence[str]) -> Path:
    """Return the Python interpreter of an environment with exactly these requirements.

    Raises:
        PeerUnavailableError: they cannot be installed; the message has the end of the installer's output.
    """
    folder = cache() / name
    interpreter, content = folder / "bin" / "python", "\n".join([sys.version, *requirements]) + "\n"
    if interpreter.exists() and _read(folder / _INSTALLED) == content:
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
    (folder / _INSTALLED).write_text(content)
    return interpreter


def _run(command: Sequence[str]) -> None:
    try:
        # In another folder, because the installer would read pyproject.toml of this one.
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
        raise PeerUnavailableError(f"`{' '.join(command)}` took more than {_SECONDS} s") from None
    if done.returncode:
        raise PeerUnavailableError(f"not installed: {' '.join((done.stderr or done.stdout).split())[-_TAIL:]}")


def _read(file: Path) -> str | None:
    return file.read_text() if file.exists() else None
