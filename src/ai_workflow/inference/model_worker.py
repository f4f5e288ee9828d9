"""Async client of a worker process: starts it, sends one batch at a time, kills it."""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import socket
import struct
import subprocess
import sys
from array import array
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from ai_workflow.errors import AiWorkflowError
from ai_workflow.inference.worker import EXPLAIN, EXPLAINABLE, FEW_VALUES, HEAD, PREDICT, READY, RESULT
from ai_workflow.inference.worker_output import WorkerOutput
from ai_workflow.inference.worker_usage import usage
from ai_workflow.plugins import search_path
from ai_workflow.runtime import process_limit
from ai_workflow.runtime.stall_timeout import StallTimeout

# One thread each: the processes of several versions share the machine with the server.
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
# Interval of progress checks; a process that runs or waits for a disk (proc(5)) makes progress.
_CHECK_SECONDS, _BUSY_STATES = 0.1, "RD"
COMMAND = (sys.executable, "-P", "-m", "ai_workflow.inference.worker")

# The outputs, or the error text of the model.
Reply = Sequence[float] | str


class ModelExitedError(AiWorkflowError):
    """The process ended or did not start; `is_late`: it took too long."""

    def __init__(self, problem: str, *, is_late: bool = False) -> None:
        super().__init__(problem)
        self.is_late = is_late


class ModelSource(NamedTuple):
    """What a worker process loads: model family, open file with the model, and number of float32 in each row.

    `spec` is an open file with the feature spec of a version with feature functions or calibrated probabilities,
    `code_folders` are the folders of
    own code; None: those of the pipeline that was loaded last.
    """

    kind: str
    model: int
    width: int
    spec: int | None = None
    code_folders: tuple[str, ...] | None = None


class ModelWorker(asyncio.Protocol):
    """A worker process with one model.

    Args:
        name: the version, for the log.
        on_reply: called with each reply.
        on_exit: called once with the cause when the process ends, unless `kill` ended it.
    """

    def __init__(self, name: str, on_reply: Callable[[Reply], None], on_exit: Callable[[str], None]) -> None:
        self._name = name
        self._on_reply = on_reply
        self._on_exit = on_exit
        self._buffer = bytearray()
        self.outputs, self.is_explainable = 0, False
        # CPU time of the process at the last check.
        self.cpu_seconds = 0.0
        self._ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._transport: Any = None
        self._process: subprocess.Popen[bytes]
        self._output: WorkerOutput

    async def start(self, source: ModelSource, timeout: float, stall: float = math.inf) -> None:
        """Start the process and wait until its model is loaded.

        Args:
            source: what the process loads.
            timeout: seconds without progress (model.timeout); ten times as long in total.
            stall: seconds without CPU use, if shorter.

        Raises:
            ModelExitedError: it crashed on the model, or took too long.
        """
        loop = asyncio.get_running_loop()
        parent_end, child_end = socket.socketpair()
        with child_end:
            spec = [] if source.spec is None else [source.spec]
            arguments = [os.getpid(), child_end.fileno(), source.model, source.kind, source.width, *spec]
            files = [child_end.fileno(), source.model, *spec]
            environment = {**search_path.environment(source.code_folders), **dict.fromkeys(_THREADS, "1")}
            self._output = WorkerOutput(self._name)
            try:
                # Always from the main thread: the kernel kills a process with the thread that started it.
                with process_limit.limit_errors_wrapped():
                    self._process = subprocess.Popen(
                        [*COMMAND, *map(str, arguments)], stdin=subprocess.DEVNULL, stdout=self._output.end,
                        stderr=self._output.end, pass_fds=files, env=environment,
                    )  # fmt: skip
            finally:
                self._output.close_end()
        self._watch_exit(loop)
        try:
            await loop.create_connection(lambda: self, sock=parent_end)
            await self._loaded(timeout, stall)
        except BaseException:
            self.kill()
            raise

    async def _loaded(self, timeout: float, stall: float) -> None:
        """Wait until the model is loaded, as long as the process makes progress."""
        time = asyncio.get_running_loop().time
        progress_count = 0
        starting = StallTimeout(self._process.pid, timeout, clock=time, cpu=lambda _: progress_count)
        moved = time()
        while not self._ready.done():
            await asyncio.wait([self._ready], timeout=min(_CHECK_SECONDS, starting.wait_seconds))
            if self._makes_progress():
                moved = time()
                progress_count += 1
            if self._ready.done():
                break
            if reason := starting.reason:
                raise ModelExitedError(f"the model did not load: {reason} (model.timeout: {timeout:g})", is_late=True)
            if time() - moved >= stall:
                raise ModelExitedError(f"the process of the model made no progress for {stall:.1f} s", is_late=True)
        await self._ready

    def _makes_progress(self) -> bool:
        """Return whether the process has used the CPU since the last call, or waits for the CPU or for a disk."""
        before = self.cpu_seconds
        self.cpu_seconds, state = usage(self._process.pid, before)
        return self.cpu_seconds > before or state in _BUSY_STATES

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    def send(self, rows: int, data: bytes) -> None:
        """Send rows to the model; one request at a time.

        Nothing is sent to a process that has just ended: `on_exit` follows.
        """
        # A write to a closed transport raises in uvloop.
        if not self._transport.is_closing():
            self._transport.write(HEAD.pack(rows, PREDICT) + data)

    def send_explained(self, data: bytes) -> None:
        """Send one row for its contributions, as `send` sends rows."""
        if not self._transport.is_closing():
            self._transport.write(HEAD.pack(1, EXPLAIN) + data)

    def kill(self) -> None:
        """Kill the process; `on_exit` is not called."""
        self._on_exit = _ignore
        self.cpu_seconds, _ = usage(self._process.pid, self.cpu_seconds)
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        if self._transport is not None:
            self._transport.abort()
        if not self._ready.done():
            self._ready.cancel()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Store the connection."""
        self._transport = transport

    def data_received(self, received: bytes) -> None:
        """Receive a part of a reply."""
        data: bytes | bytearray = received
        if self._buffer or len(received) < HEAD.size:
            self._buffer += received
            data = self._buffer
            if len(data) < HEAD.size:
                return
        kind, count = HEAD.unpack_from(data)
        if kind >= READY:
            self._buffer.clear()
            self.outputs = count
            self.is_explainable = kind == EXPLAINABLE
            if not self._ready.done():
                self._ready.set_result(None)
            return
        end = HEAD.size + (count * 8 if kind == RESULT else count)
        if len(data) < end:
            if data is not self._buffer:
                self._buffer += data
            return
        reply: Reply = _outputs(data, count) if kind == RESULT else _text(data, end)
        self._buffer.clear()
        self._on_reply(reply)

    def connection_lost(self, error: Exception | None) -> None:
        """Kill the process: it is ending, or has closed the connection by mistake."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()

    def _watch_exit(self, loop: asyncio.AbstractEventLoop) -> None:
        handle = os.pidfd_open(self._process.pid)

        def ended() -> None:
            loop.remove_reader(handle)
            os.close(handle)
            self.cpu_seconds, _ = usage(self._process.pid, self.cpu_seconds)
            code = self._process.wait()
            how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
            if last := self._output.drain():
                how = f"{how}; its last output: {last}"
            if not self._ready.done():
                self._ready.set_exception(ModelExitedError(f"the process of the model {how} while it loaded"))
            self._on_exit(how)

        loop.add_reader(handle, ended)


def _outputs(data: bytes | bytearray, count: int) -> Sequence[float]:
    """Return the outputs: few as a tuple, many as an array, which has no object for each value."""
    if count <= FEW_VALUES:
        return struct.unpack_from(f"<{count}d", data, HEAD.size)
    outputs = array("d")
    outputs.frombytes(data[HEAD.size : HEAD.size + 8 * count])
    return outputs


def _text(data: bytes | bytearray, end: int) -> str:
    return bytes(data[HEAD.size : end]).decode(errors="replace")


def _ignore(_: str) -> None:
    """Do nothing."""
