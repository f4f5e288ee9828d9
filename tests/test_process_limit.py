"""The limit of processes and threads ends a program with one message, whatever reaches it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from ai_workflow.runtime import process_limit
from ai_workflow.runtime.process_limit import ProcessLimitError
from tests import few_threads

ROOT = Path(__file__).parents[1]
MESSAGE = "no further thread or process can be started"
# A user other than root, as root has no such limit.
REAL = """
import os, resource, subprocess, sys
from ai_workflow.runtime import process_limit

def start():
    with process_limit.limit_errors_wrapped():
        subprocess.run([sys.executable, "-c", ""])

if os.geteuid() == 0:
    os.setgroups([])
    os.setresuid(65534, 65534, 65534)
resource.setrlimit(resource.RLIMIT_NPROC, (1, 1))
for work in (lambda: process_limit.require_threads(1), start):
    try:
        work()
    except process_limit.ProcessLimitError as error:
        print(error)
"""


@pytest.mark.integration
def test_process_limit_error_names_ulimit_and_remedy() -> None:
    done = subprocess.run([sys.executable, "-c", REAL], capture_output=True, text=True, check=False, cwd=ROOT)

    assert done.returncode == 0, done.stderr
    of_thread, of_process = done.stdout.splitlines()
    assert of_thread.startswith(f"{MESSAGE} (ulimit -u is 1): can't start new thread. Raise the limit of processes")
    assert of_process.startswith(f"{MESSAGE} (ulimit -u is 1): [Errno 11] Resource temporarily unavailable. Raise")


def test_thread_probe_leaves_no_threads() -> None:
    before = threading.active_count()
    process_limit.require_threads(20)
    assert threading.active_count() == before


def test_probe_threads_end_after_limit_error(monkeypatch: pytest.MonkeyPatch) -> None:
    before = threading.active_count()
    for name in few_threads.STARTERS:
        monkeypatch.setattr(threading, name, getattr(threading, name, None), raising=False)
    few_threads.limit(3)
    with pytest.raises(ProcessLimitError, match=MESSAGE):
        process_limit.require_threads(4)
    assert threading.active_count() == before


def test_process_limit_error_in_exception_group_is_detected() -> None:
    group = ExceptionGroup("tasks", [ValueError("other"), RuntimeError(few_threads.TEXT)])
    with (
        pytest.raises(ProcessLimitError, match=r"can't start new thread\. Raise"),
        process_limit.limit_errors_wrapped(),
    ):
        raise group


def test_unrelated_errors_propagate() -> None:
    with pytest.raises(RuntimeError, match="no running event loop"), process_limit.limit_errors_wrapped():
        raise RuntimeError("no running event loop")
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        with pytest.raises(BlockingIOError), process_limit.limit_errors_wrapped():
            ours.recv(1)


@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    [
        ("tests.command_line", "serve"),
        ("ai_workflow", "relay", "--port", "0"),
        ("ai_workflow", "exporter", "--port", "0"),
    ],
    ids=" ".join,
)
def test_server_without_thread_capacity_exits_with_single_error(command: tuple[str, ...], tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    done = subprocess.run(
        [sys.executable, "-m", "tests.few_threads", "3", *command], cwd=ROOT, timeout=240, check=False,
        env=environment | {"AIW_STORE": str(tmp_path)}, capture_output=True, text=True,
    )  # fmt: skip

    assert done.returncode == 2, done.stdout + done.stderr
    errors = [line for line in done.stderr.splitlines() if MESSAGE in line]
    assert len(errors) == 1
    assert "Raise the limit of processes" in errors[0]
    assert "Traceback" not in done.stderr
    assert "listening on" not in done.stderr
