"""Each guard of docs/security.md is taken out of a copy of the project; a test of that copy must then fail."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.guards import GUARDS, Guard

ROOT = Path(__file__).parent.parent
# Of pytest: 1, a test failed.
FAILED = 1
pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project, beside its .venv."""
    folder = tmp_path_factory.mktemp("guards") / "project"
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    ).stdout
    for name in os.fsdecode(listed).split("\0"):
        if name and (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    return folder


@pytest.mark.parametrize(
    "guard",
    [pytest.param(each, id=each.name, marks=pytest.mark.soak if each.is_long else pytest.mark.slow) for each in GUARDS],
)
def test_removing_guard_fails_tests(guard: Guard, project: Path) -> None:
    path = project / guard.file
    whole = path.read_text()
    assert whole.count(guard.text) == 1, f"{guard.file} has the guard {whole.count(guard.text)} times"
    path.write_text(whole.replace(guard.text, guard.without))
    try:
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "--tb=short", *guard.tests],
            cwd=project, env=os.environ | {"PYTHONPATH": f"{project / 'src'}:{project}"},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
    finally:
        path.write_text(whole)

    said = done.stdout[-4000:]
    assert done.returncode == FAILED, f"no test misses it (exit code {done.returncode}):\n{said}{done.stderr[-2000:]}"
    assert re.search(r"^FAILED ", said, re.MULTILINE), f"it failed before a test did:\n{said}"
