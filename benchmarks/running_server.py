"""A server while it is measured: started on one CPU, awaited until it is ready, and ended with all its processes."""

from __future__ import annotations

import http.client
import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from benchmarks import process_tree
from benchmarks.measure import BenchmarkError
from benchmarks.peer_environment import Skipped

_READY_SECONDS, _END_SECONDS = 120.0, 15.0
_TAIL = 400
# Libraries would else start a thread for each core, although the server has but one.
_THREADS = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


@dataclass(frozen=True, slots=True)
class Running:
    """Where it answers, and the process that all its others come from."""

    port: int
    pid: int


def cpus() -> tuple[int, int]:
    """Return the CPU of the servers and that of the client; the same one twice where there is no other.

    Raises:
        BenchmarkError: this system does not let a process choose its CPU.
    """
    if not hasattr(os, "sched_getaffinity"):
        raise BenchmarkError("this needs Linux: processes are tied to a CPU each, and /proc says what they took")
    own = sorted(os.sched_getaffinity(0))
    return own[0], own[-1]


@contextmanager
def pinned(cpu: int) -> Iterator[None]:
    """What is started meanwhile runs on this CPU, with all that it starts itself."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {cpu})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextmanager
def running(command: Callable[[int, Path], Sequence[str]], ready: str, cpu: int, folder: Path) -> Iterator[Running]:
    """Give a server that is ready; `command` gets a free port and an empty folder.

    Raises:
        Skipped: it cannot be installed, ends, or does not get ready; with the end of its log.
    """
    folder.mkdir(parents=True)
    port, log = _free_port(), folder.with_suffix(".log")
    told, environment = command(port, folder), {**os.environ, **_THREADS, "DO_NOT_TRACK": "1"}
    with log.open("wb") as output, pinned(cpu):
        child = subprocess.Popen(
            told, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
            start_new_session=True,
        )  # fmt: skip
    try:
        _await(child, port, ready, log)
        yield Running(port, child.pid)
    finally:
        _end(child)


def _await(child: subprocess.Popen[bytes], port: int, ready: str, log: Path) -> None:
    until = time.monotonic() + _READY_SECONDS
    while not _answers(port, ready):
        if child.poll() is not None:
            raise Skipped(f"not started, it ended with code {child.returncode}: {_last_words(log)}")
        if time.monotonic() > until:
            raise Skipped(f"not started, {ready} was not ready after {_READY_SECONDS:g} s: {_last_words(log)}")
        time.sleep(0.1)


def _answers(port: int, path: str) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _end(child: subprocess.Popen[bytes]) -> None:
    """Ask it to end; then end what is left, whatever became of the one that was asked."""
    left = process_tree.members(child.pid)
    child.terminate()
    with suppress(subprocess.TimeoutExpired):
        child.wait(_END_SECONDS)
    # Those of the first look, of which some may have left its session, and what it started since.
    process_tree.kill({**left, **process_tree.members(child.pid)})
    child.wait()


def _last_words(log: Path) -> str:
    return " ".join(log.read_text(errors="replace").split())[-_TAIL:]


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
