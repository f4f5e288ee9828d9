"""Folders that Prefect deletes after a run."""

from __future__ import annotations

import re
from pathlib import Path

# tempfile.TemporaryDirectory(suffix="prefect") of the process worker; the clones of a runner that serves flows.
_DELETED = re.compile(r"tmp[a-z0-9_]{8}prefect|runner_storage")


def is_below(path: Path) -> bool:
    """Return whether a path is in a folder that Prefect deletes after the run."""
    return any(_DELETED.fullmatch(part) for part in path.parts)
