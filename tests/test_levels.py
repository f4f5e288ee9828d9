"""The levels of tests: unit tests start no process and no server, and only their modules are imported."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.integration


def run(folder: Path, text: str, *options: str) -> subprocess.CompletedProcess[str]:
    (folder / "test_sample.py").write_text(text)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "tests.conftest",
        "-p",
        "no:cacheprovider",
        "--rootdir",
        str(folder),
    ]
    return subprocess.run(
        [*command, *options, str(folder)], cwd=ROOT, capture_output=True, text=True, check=False, timeout=240
    )


@pytest.mark.parametrize(
    ("statement", "started"),
    [
        ("import subprocess; subprocess.run(['true'])", "a process"),
        ("import os; os.fork() or os._exit(0)", "a process"),
        ("import socket; socket.socket().bind(('127.0.0.1', 0))", "a server"),
    ],
)
@pytest.mark.slow
def test_unit_test_starting_process_or_server_fails(tmp_path: Path, statement: str, started: str) -> None:
    text = f"def test_one():\n    {statement}\n"

    refused = run(tmp_path, text, "-m", "unit")
    assert refused.returncode == 1, refused.stdout
    assert f"test_one starts {started}. Mark it with pytest.mark.integration." in refused.stdout
    marked = text.replace("def test_one", "import pytest\n@pytest.mark.integration\ndef test_one")
    assert run(tmp_path, text).returncode == 1
    assert run(tmp_path, marked).returncode == 0


@pytest.mark.slow
def test_module_without_unit_tests_is_not_imported(tmp_path: Path) -> None:
    text = "import pytest\n\npytestmark = pytest.mark.integration\nraise RuntimeError('imported')\n"

    assert "imported" in run(tmp_path, text).stdout
    ignored = run(tmp_path, text, "-m", "unit")
    assert ignored.returncode == 5, ignored.stdout
    assert "imported" not in ignored.stdout


def test_unit_tests_do_not_wait_for_the_disk(tmp_path: Path) -> None:
    text = "import os\n\ndef test_one():\n    os.fsync(-1)\n"

    assert run(tmp_path, text, "-m", "unit").returncode == 0
    assert run(tmp_path, text).returncode == 1


def test_failure_is_printed_before_the_run_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIW_NO_SKIPS", "1")
    text = "import os\n\ndef test_one():\n    assert 'a' == 'b'\n\ndef test_two():\n    os._exit(3)\n"

    cut_off = run(tmp_path, text)
    assert cut_off.returncode == 3, cut_off.stdout
    assert "FAILED test_sample.py::test_one (call, 0 s)" in cut_off.stdout
    assert "AssertionError: assert 'a' == 'b'" in cut_off.stdout
