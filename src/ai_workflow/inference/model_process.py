"""A model in a process of its own: a file that crashes the parser, or a model that hangs, cannot take the caller along.

Frames to the process: 8 bytes length (little endian), then the bytes. First the model's kind, then its file, then each
X (npy). Frames from it have a byte before that says what they are:

    A   the answer: empty when the model is loaded, then one (npy) for each X
    W   a warning for the log; the answer follows
    M   memory ran out: the problem, a line break, the remedy
"""

from __future__ import annotations

import io
import logging
import os
import select
import struct
import subprocess
import sys
from typing import IO, TYPE_CHECKING, Any

from ai_workflow.errors import AiWorkflowError
from ai_workflow.runtime import memory_pressure
from ai_workflow.runtime.stall_timeout import StallTimeout
from ai_workflow.telemetry import logs, trace_context

if TYPE_CHECKING:
    import numpy as np


_HEAD = struct.Struct("<cQ")
_ANSWER, _WARNING, _NO_MEMORY = b"A", b"W", b"M"
_REMEDY = f"{memory_pressure.MORE_MEMORY}, or train a smaller model: trainer.params"


class ModelFailed(AiWorkflowError):
    """The model crashed, hung past its time, or answered nonsense."""


class ModelProcess:
    """Asks one model; use it as a context manager.

    Args:
        name: the version, for messages.
        kind: the model family.
        model: the bytes of the model file, verified.
        timeout: seconds that loading, and each answer, may take without progress of the process.
    """

    def __init__(self, name: str, kind: str, model: bytes, timeout: float) -> None:
        self._name, self.kind, self._model, self._timeout = name, kind, model, timeout
        self._blocks = memory_pressure.BatchSplitter(None, memory_pressure.MIN_BATCH_ROWS, _REMEDY)

    def __enter__(self) -> ModelProcess:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "ai_workflow.inference.model_process"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
        )
        try:
            self._ask("load", self.kind.encode(), self._model)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Return the model's answers to (n, features) float32: (n, classes) or (n,), in blocks that fit into memory.

        Raises:
            ModelFailed: the process died, was late, or its answer has another shape or is not finite.
            MemoryError: few rows at once do not fit into memory either.
        """
        import numpy as np

        return np.concatenate(self._blocks.each(len(x), lambda start, end: self._predict(x[start:end])))

    def _predict(self, x: np.ndarray) -> np.ndarray:
        import numpy as np

        out = io.BytesIO()
        np.save(out, x, allow_pickle=False)
        answer: np.ndarray = np.load(io.BytesIO(self._ask("answer", out.getvalue())), allow_pickle=False)
        if len(answer) != len(x) or not np.isfinite(answer).all():
            raise ModelFailed(
                f"{self._name} answered {answer.shape} for {len(x)} rows, or an answer that is not finite"
            )
        return answer

    def _ask(self, what: str, *frames: bytes) -> bytes:
        """Send frames and return the frame that answers them."""
        deadline = StallTimeout(self._process.pid, self._timeout)
        for frame in frames:
            self._send(struct.pack("<Q", len(frame)), deadline, what)
            self._send(frame, deadline, what)
        while True:
            kind, size = _HEAD.unpack(self._take(_HEAD.size, deadline, what))
            data = self._take(size, deadline, what)
            if kind == _ANSWER:
                return data
            text = data.decode(errors="replace")
            if kind == _NO_MEMORY:
                problem, _, remedy = text.partition("\n")
                raise memory_pressure.OutOfMemoryError(f"{self._name}: {problem}", remedy or _REMEDY)
            logs.logger(trace_context.current_stage() or "model").warning("%s", text)

    def _send(self, data: bytes, deadline: StallTimeout, what: str) -> None:
        assert self._process.stdin is not None
        handle, left = self._process.stdin.fileno(), memoryview(data)
        # A process that hangs reads nothing, and a write into a full pipe would wait for it.
        os.set_blocking(handle, False)
        while left:
            self._await(handle, select.POLLOUT, deadline, what)
            try:
                left = left[os.write(handle, left) :]
            except BrokenPipeError as error:
                raise self._died() from error

    def _take(self, size: int, deadline: StallTimeout, what: str) -> bytes:
        assert self._process.stdout is not None
        handle, taken = self._process.stdout.fileno(), bytearray()
        while len(taken) < size:
            self._await(handle, select.POLLIN, deadline, what)
            chunk = os.read(handle, min(size - len(taken), 1 << 20))
            if not chunk:
                raise self._died()
            taken += chunk
        return bytes(taken)

    def _await(self, handle: int, event: int, deadline: StallTimeout, what: str) -> None:
        poll = select.poll()
        poll.register(handle, event)
        while not poll.poll(deadline.wait_seconds * 1000):
            if reason := deadline.reason:
                raise ModelFailed(f"{self._name} did not {what}: {reason} (model.timeout: {self._timeout:g})")

    def _died(self) -> ModelFailed:
        code = self._process.wait()
        how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
        return ModelFailed(f"the process of {self._name} {how}")


def _write(pipe: IO[bytes], kind: bytes, data: bytes | memoryview) -> None:
    pipe.write(_HEAD.pack(kind, len(data)))
    pipe.write(data)
    pipe.flush()


class _Warnings(logging.Handler):
    """Sends the lines of this process to the one that asks."""

    def __init__(self, answers: IO[bytes]) -> None:
        super().__init__(logging.WARNING)
        self._answers = answers

    def emit(self, record: logging.LogRecord) -> None:
        """Send the text of a line."""
        _write(self._answers, _WARNING, record.getMessage().encode())


def _read(pipe: IO[bytes]) -> bytes | None:
    head = pipe.read(8)
    if len(head) < 8:
        return None
    (size,) = struct.unpack("<Q", head)
    return pipe.read(size)


def _answer(asked: Any, answers: Any) -> None:
    from ai_workflow.training import protocol

    kind, model = _read(asked), _read(asked)
    if kind is None or model is None:
        return
    predict = protocol.load(kind.decode(), model)
    _write(answers, _ANSWER, b"")
    while (data := _read(asked)) is not None:
        problem = None
        try:
            answer = _answered(predict, data)
        except MemoryError as error:
            problem = error
        if problem is None:
            _write(answers, _ANSWER, answer)
            continue
        del data
        _out_of_memory(answers, problem)
        problem = None
        memory_pressure.release()


def _answered(predict: Any, data: bytes) -> memoryview:
    import numpy as np

    out = io.BytesIO()
    np.save(out, predict(np.load(io.BytesIO(data), allow_pickle=False)), allow_pickle=False)
    return out.getbuffer()


def _out_of_memory(answers: IO[bytes], error: MemoryError) -> None:
    found = memory_pressure.to_memory_error(error, "", _REMEDY)
    _write(answers, _NO_MEMORY, f"{' '.join(found.problem.split())}\n{found.remedy}".encode())


if __name__ == "__main__":
    # What a library prints must not end up among the answers.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    logging.getLogger(logs.ROOT).addHandler(_Warnings(answers))
    try:
        _answer(sys.stdin.buffer, answers)
    except Exception as error:  # whatever a library makes of a bad model: one line, and the caller says which it was
        if found := memory_pressure.shortage(error):
            _out_of_memory(answers, found)
            sys.exit(1)
        sys.exit(f"{type(error).__name__}: {' '.join(str(error).split())}")
