"""A migrated SQLite database of Prefect: without one, migrations take half of the first start of a server."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path


def seed(home: Path) -> None:
    """Copy a migrated database without rows to `prefect.db` in a folder, unless it exists."""
    database = home / "prefect.db"
    if not database.exists():
        home.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(_template(), database)


def _template() -> Path:
    """Return a database that is made once for each version of Prefect on this machine."""
    folder = Path(tempfile.gettempdir()) / f"ai-workflow-tests-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.stat()
    assert (found.st_uid, found.st_mode & 0o077) == (os.getuid(), 0), f"{folder} is open to others: remove it"
    template = folder / f"prefect-{version('prefect')}.db"
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not template.exists():
            _migrate(template)
    return template


def _migrate(template: Path) -> None:
    with tempfile.TemporaryDirectory(dir=template.parent) as home:
        fresh = Path(home) / "prefect.db"
        subprocess.run(
            [sys.executable, "-m", "prefect", "server", "database", "upgrade", "--yes"], check=True,
            env={name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
            | {"PREFECT_HOME": home, "PREFECT_API_DATABASE_CONNECTION_URL": f"sqlite+aiosqlite:///{fresh}"},
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, timeout=240,
        )  # fmt: skip
        fresh.replace(template)
