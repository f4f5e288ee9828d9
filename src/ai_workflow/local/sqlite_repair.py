"""Move a corrupt SQLite database of Prefect aside, so that the server can start with a new one."""

from __future__ import annotations

import contextlib
import logging
import sqlite3
from contextlib import closing
from pathlib import Path

log = logging.getLogger(__name__)


def set_aside_if_corrupt(database: Path) -> None:
    """Rename a corrupt database and its journal to `<name>.damaged-<n>`, and log a warning."""
    if not database.exists() or (damage := _damage(database)) is None:
        return
    existing = {path.name for path in database.parent.iterdir()}
    aside = next(name for n in range(1, 10_000) if (name := f"{database.name}.damaged-{n}") not in existing)
    for suffix in ("", "-wal", "-shm"):
        with contextlib.suppress(FileNotFoundError):
            database.with_name(database.name + suffix).rename(database.with_name(aside + suffix))
    log.warning(
        "%s is damaged (%s) and was set aside as %s: Prefect's history of runs is empty now; "
        "data, checkpoints and models are unchanged",
        database, damage, aside,
    )  # fmt: skip


def _damage(database: Path) -> str | None:
    if database.stat().st_size == 0:
        return "the file is empty"
    try:
        with closing(sqlite3.connect(database)) as connection:
            verdict = str(connection.execute("PRAGMA quick_check(1)").fetchone()[0])
    except sqlite3.OperationalError:
        return None  # locked or not readable; the server reports that
    except sqlite3.DatabaseError as error:
        return str(error)
    return None if verdict == "ok" else verdict
