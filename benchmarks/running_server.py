"""Start of a server on one CPU, wait for its readiness, and stop of all its processes."""

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
from benchmarks.peer_environment import PeerUnavailableError

_READY_SECONDS, _END_SECONDS = 120.0, 15.0
_TAIL = 400
# By default, libraries start a thread for each core, although the server has one CPU.
_THREADS = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


@dataclass(frozen=True, slots=True)
class Running:
    """A running server: its port, and the parent of all its processes."""

    port: int
    pid: int


def cpus() -> tuple[int, int]:
    """Return the CPU of the servers and that of the client; they are equal if there is only one.

    Raises:
        BenchmarkError: this system does not let a process choose its CPU.
    """
    if not hasattr(os, "sched_getaffinity"):
        raise BenchmarkError(
            "this benchmark needs Linux, because it pins processes to CPUs and reads their CPU time from /proc"
        )
    own = sorted(os.sched_getaffinity(0))
    return own[0], own[-1]


@contextmanager
def pinned(cpu: int) -> Iterator[None]:
    """Pin processes that are started within the context, and their children, to a CPU."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {cpu})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextmanager
def running(command: Callable[[int, Path], Sequence[str]], ready: str, cpu: int, folder: Path) -> Iterator[Running]:
    """Yield a server that is ready; `command` gets a free port and an empty folder.

    Raises:
        PeerUnavailableError: the server cannot be installed, exits, or is not ready in time.
    """
    folder.mkdir(parents=True)
    port, log = _free_port(), folder.with_suffix(".log")
    environment = {**os.environ, **_THREADS, "DO_NOT_TRACK": "1"}
    with log.open("wb") as output, pinned(cpu):
        child = subprocess.Popen(
            command(port, folder), env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
            start_new_session=True,
        )  # fmt: skip
    try:
        _wait_until_ready(child, port, ready, log)
        yield Running(port, child.pid)
    finally:
        _stop(child)


def _wait_until_ready(child: subprocess.Popen[bytes], port: int, ready: str, log: Path) -> None:
    deadline = time.monotonic() + _READY_SECONDS
    while not _is_ready(port, ready):
        if child.poll() is not None:
            raise PeerUnavailableError(f"not started, exit code {child.returncode}: {_log_tail(log)}")
        if time.monotonic() > deadline:
            raise PeerUnavailableError(
                f"not started, {ready} was not ready after {_READY_SECONDS:g} s: {_log_tail(log)}"
            )
        time.sleep(0.1)


def _is_ready(port: int, path: str) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _stop(child: subprocess.Popen[bytes]) -> None:
    """Terminate the server, then kill the processes that are left."""
    processes = process_tree.members(child.pid)
    child.terminate()
    with suppress(subprocess.TimeoutExpired):
        child.wait(_END_SECONDS)
    # Also the first list: some processes may have left the session since.
    process_tree.kill({**processes, **process_tree.members(child.pid)})
    child.wait()


def _log_tail(log: Path) -> str:
    return " ".join(log.read_text(errors="replace").split())[-_TAIL:]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
