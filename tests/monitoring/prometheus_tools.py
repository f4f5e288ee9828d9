"""Prometheus' and Alertmanager's own checkers, and what is committed for them."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.monitoring.paths import GENERATED

RULES = GENERATED / "prometheus" / "rules"
TESTS = GENERATED / "prometheus" / "tests"
PROCESSES, AT_ONCE = 2, 100  # of promtool, and the files for each
_HEADING, _PASSED = "Unit Testing:  ", "  SUCCESS"


def run(name: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run promtool or amtool; skips the test where it is missing."""
    package = {"promtool": "prometheus", "amtool": "prometheus-alertmanager"}[name]
    if shutil.which(name) is None:
        pytest.skip(f"no {name}: apt-get install {package}")
    return subprocess.run([name, *arguments], capture_output=True, text=True, check=False)


def failing(paths: Iterable[Path]) -> dict[Path, str]:
    """Run the rules' tests in these files, many in one process; return those that fail, with all that promtool said."""
    wanted = list(paths)
    count = max(min(PROCESSES, len(wanted)), len(wanted) // AT_ONCE)
    with ThreadPoolExecutor(PROCESSES) as pool:
        found = pool.map(_failing, [wanted[start::count] for start in range(count)])
        return {path: said for share in found for path, said in share.items()}


def _failing(wanted: Sequence[Path]) -> dict[Path, str]:
    found = run("promtool", "test", "rules", *wanted)
    lines = found.stdout.splitlines()
    tried = [line.removeprefix(_HEADING) for line in lines if line.startswith(_HEADING)]
    passed = {before.removeprefix(_HEADING) for before, line in pairwise(lines) if line == _PASSED}
    assert tried == [str(path) for path in wanted], found.stdout + found.stderr
    return {path: found.stdout + found.stderr for path in wanted if str(path) not in passed}


@cache
def groups() -> dict[str, list[dict[str, object]]]:
    """Return the committed rules by their group."""
    return {path.stem: _read(path)["groups"][0]["rules"] for path in sorted(RULES.glob("*.yaml"))}


@cache
def tests() -> dict[str, dict[str, Any]]:
    """Return the committed tests of the rules by their file's name, without its ending."""
    return {path.stem: _read(path) for path in sorted(TESTS.glob("*.yaml"))}


def _read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.load(path.read_text(), Loader=yaml.CSafeLoader)
    return found
