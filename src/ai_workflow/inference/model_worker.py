"""The parent's end of a model's process: starts it, asks it one batch at a time, kills it."""

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
from typing import Any

from ai_workflow.errors import AiWorkflowError
from ai_workflow.inference.worker import ANSWER, FEW_VALUES, HEAD, READY
from ai_workflow.inference.worker_output import WorkerOutput
from ai_workflow.inference.worker_usage import usage
from ai_workflow.runtime import process_limit
from ai_workflow.runtime.stall_timeout import StallTimeout

# One thread each: the processes of several versions share the machine with the server.
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
# How often progress is looked at: states of a process that runs or waits for a disk (proc(5)) are progress.
_LOOK_SECONDS, _BUSY_STATES = 0.1, "RD"
COMMAND = (sys.executable, "-P", "-m", "ai_workflow.inference.worker")

# The answers, or what the model said in place of any.
Reply = Sequence[float] | str


class ModelGone(AiWorkflowError):
    """The process ended, or did not start; `is_late`: it took too long."""

    def __init__(self, problem: str, *, is_late: bool = False) -> None:
        super().__init__(problem)
        self.is_late = is_late


class ModelWorker(asyncio.Protocol):
    """One process with one model, ready to be asked.

    Args:
        name: the version, for the log.
        replied: told of each answer.
        gone: told once how the process ended, unless it was `kill` that ended it.
    """

    def __init__(self, name: str, replied: Callable[[Reply], None], gone: Callable[[str], None]) -> None:
        self._name, self._replied, self._gone = name, replied, gone
        self._buffer = bytearray()
        self.outputs = 0
        # CPU time of the process when it was last looked at.
        self.cpu_seconds = 0.0
        self._ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._transport: Any = None
        self._process: subprocess.Popen[bytes]
        self._output: WorkerOutput

    async def start(self, kind: str, model: int, features: int, timeout: float, stall: float = math.inf) -> None:
        """Start the process and wait until its model is loaded.

        Args:
            kind: the model family.
            model: an open file with the model.
            features: numbers in each row.
            timeout: seconds that it may make no progress; ten times as long in all.
            stall: seconds that it may make no progress.

        Raises:
            ModelGone: it crashed on the model, or took too long.
        """
        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair()
        with theirs:
            arguments = [str(os.getpid()), str(theirs.fileno()), str(model), kind, str(features)]
            environment = {**os.environ, **dict.fromkeys(_THREADS, "1")}
            self._output = WorkerOutput(self._name)
            try:
                # From the main thread, always: the kernel ends a process with the very thread that started it.
                with process_limit.limit_errors_wrapped():
                    self._process = subprocess.Popen(
                        [*COMMAND, *arguments], stdin=subprocess.DEVNULL, stdout=self._output.end,
                        stderr=self._output.end, pass_fds=[theirs.fileno(), model], env=environment,
                    )  # fmt: skip
            finally:
                self._output.close_end()
        self._watch_exit(loop)
        try:
            await loop.create_connection(lambda: self, sock=ours)
            await self._loaded(timeout, stall)
        except BaseException:
            self.kill()
            raise

    async def _loaded(self, timeout: float, stall: float) -> None:
        """Wait until the model is loaded, as long as the process makes progress."""
        time = asyncio.get_running_loop().time
        moves = 0
        starting = StallTimeout(self._process.pid, timeout, clock=time, cpu=lambda _: moves)
        moved = time()
        while not self._ready.done():
            await asyncio.wait([self._ready], timeout=min(_LOOK_SECONDS, starting.wait_seconds))
            if self._makes_progress():
                moved = time()
                moves += 1
            if self._ready.done():
                break
            if reason := starting.reason:
                raise ModelGone(f"the model did not load: {reason} (model.timeout: {timeout:g})", is_late=True)
            if time() - moved >= stall:
                raise ModelGone(f"the process of the model made no progress for {stall:.1f} s", is_late=True)
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

    def ask(self, rows: int, data: bytes) -> None:
        """Ask for the answers to rows; one question at a time.

        A process that has just ended gets none: `gone` is about to be called.
        """
        # A write to a closed transport raises in uvloop.
        if not self._transport.is_closing():
            self._transport.write(HEAD.pack(rows, 0) + data)

    def kill(self) -> None:
        """End the process, whatever it does; `gone` is not called."""
        self._gone = _nobody
        self.cpu_seconds, _ = usage(self._process.pid, self.cpu_seconds)
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        if self._transport is not None:
            self._transport.abort()
        if not self._ready.done():
            self._ready.cancel()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection."""
        self._transport = transport

    def data_received(self, received: bytes) -> None:
        """Take a piece of an answer."""
        data: bytes | bytearray = received
        if self._buffer or len(received) < HEAD.size:
            self._buffer += received
            data = self._buffer
            if len(data) < HEAD.size:
                return
        kind, count = HEAD.unpack_from(data)
        if kind == READY:
            self._buffer.clear()
            self.outputs = count
            if not self._ready.done():
                self._ready.set_result(None)
            return
        end = HEAD.size + (count * 8 if kind == ANSWER else count)
        if len(data) < end:
            if data is not self._buffer:
                self._buffer += data
            return
        reply: Reply = _numbers(data, count) if kind == ANSWER else _text(data, end)
        self._buffer.clear()
        self._replied(reply)

    def connection_lost(self, error: Exception | None) -> None:
        """Hear that the process hung up: it is ending, or has closed what it must not."""
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
                how = f"{how}; its last words: {last}"
            if not self._ready.done():
                self._ready.set_exception(ModelGone(f"the process of the model {how} while it loaded"))
            self._gone(how)

        loop.add_reader(handle, ended)


def _numbers(data: bytes | bytearray, count: int) -> Sequence[float]:
    """Return the answers: few as a tuple, many as an array, which is made without an object for each."""
    if count <= FEW_VALUES:
        return struct.unpack_from(f"<{count}d", data, HEAD.size)
    numbers = array("d")
    numbers.frombytes(data[HEAD.size : HEAD.size + 8 * count])
    return numbers


def _text(data: bytes | bytearray, end: int) -> str:
    return bytes(data[HEAD.size : end]).decode(errors="replace")


def _nobody(_: str) -> None:
    """Hear nothing."""
