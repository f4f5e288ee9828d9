"""The parent's end of a model's process: starts it, asks it one batch at a time, kills it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any

from ai_workflow.errors import AiWorkflowError
from ai_workflow.serving.worker import ANSWER, HEAD, READY
from ai_workflow.serving.worker_output import WorkerOutput

# One thread each: the processes of several versions share the machine with the server.
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
COMMAND = (sys.executable, "-P", "-m", "ai_workflow.serving.worker")

# The answers, or what the model said in place of any.
Reply = Sequence[float] | str


class ModelGone(AiWorkflowError):
    """The process ended, or did not come up."""


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
        self._ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._transport: Any = None
        self._process: subprocess.Popen[bytes]
        self._output: WorkerOutput

    async def start(self, kind: str, model: int, features: int, timeout: float) -> None:
        """Start the process and wait until its model is loaded.

        Args:
            kind: the model family.
            model: an open file with the model.
            features: numbers in each row.
            timeout: seconds that it may take.

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
                self._process = subprocess.Popen(
                    [*COMMAND, *arguments], stdin=subprocess.DEVNULL, stdout=self._output.end,
                    stderr=self._output.end, pass_fds=[theirs.fileno(), model], env=environment,
                )  # fmt: skip
            finally:
                self._output.close_end()
        self._watch_exit(loop)
        try:
            await loop.create_connection(lambda: self, sock=ours)
            async with asyncio.timeout(timeout):
                await self._ready
        except TimeoutError as error:
            self.kill()
            raise ModelGone(f"the model did not load within {timeout:g} s (model.timeout)") from error
        except BaseException:
            self.kill()
            raise

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    def ask(self, rows: int, data: bytes) -> None:
        """Ask for the answers to rows; one question at a time."""
        self._transport.write(HEAD.pack(rows, 0) + data)

    def kill(self) -> None:
        """End the process, whatever it does; nobody is told."""
        self._gone = _nobody
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
        reply: Reply = struct.unpack_from(f"<{count}d", data, HEAD.size) if kind == ANSWER else _text(data, end)
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
            code = self._process.wait()
            how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
            if last := self._output.drain():
                how = f"{how}; its last words: {last}"
            if not self._ready.done():
                self._ready.set_exception(ModelGone(f"the process of the model {how} while it loaded"))
            self._gone(how)

        loop.add_reader(handle, ended)


def _text(data: bytes | bytearray, end: int) -> str:
    return bytes(data[HEAD.size : end]).decode(errors="replace")


def _nobody(_: str) -> None:
    """Hear nothing."""
