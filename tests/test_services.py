"""The parts that tests start are real, and in CI a missing one is a failure."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from tests.services import Postgres

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[1]
SKIPPING = """
import pytest
def test_runs(): pass
def test_skips(): pytest.skip("no such program: apt-get install it")
@pytest.mark.skip(reason="marked")
def test_marked(): pass
@pytest.mark.xfail(strict=True)
def test_known_fault(): assert False
"""
SKIPPING_MODULE = "import pytest\npytest.importorskip('no_such_module')\ndef test_never(): pass\n"


def _pytest(path: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    options = [
        "-W",
        "ignore::pytest.PytestUnknownMarkWarning",
        "-p",
        "tests.conftest",
        "--rootdir",
        str(path.parent),
        "-c",
        os.devnull,
    ]
    clean = {name: value for name, value in os.environ.items() if name != "AIW_NO_SKIPS"}
    return subprocess.run(
        [sys.executable, "-m", "pytest", *options, str(path)],
        cwd=path.parent,
        env=clean | {"PYTHONPATH": str(ROOT)} | environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
def test_skip_fails_in_ci_with_install_hint(tmp_path: Path) -> None:
    path = tmp_path / "test_skipping.py"
    path.write_text(SKIPPING)

    found = _pytest(path, AIW_NO_SKIPS="1")

    assert found.returncode == 1
    assert "1 failed, 1 passed, 1 xfailed, 1 error" in found.stdout
    assert "skipped: Skipped: no such program: apt-get install it" in found.stdout


@pytest.mark.slow
def test_skip_passes_outside_ci(tmp_path: Path) -> None:
    path = tmp_path / "test_skipping.py"
    path.write_text(SKIPPING)

    found = _pytest(path)

    assert found.returncode == 0
    assert "1 passed, 2 skipped, 1 xfailed" in found.stdout


@pytest.mark.slow
def test_module_level_skip_fails_in_ci(tmp_path: Path) -> None:
    path = tmp_path / "test_module.py"
    path.write_text(SKIPPING_MODULE)

    assert _pytest(path, AIW_NO_SKIPS="1").returncode == 2


def test_postgres_requires_password(postgres: Postgres) -> None:
    with postgres.connect() as connection:
        assert connection.execute("select 6 * 7").fetchone() == (42,)
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(host=postgres.host, port=postgres.port, user=postgres.user, password="wrong", dbname="postgres")
