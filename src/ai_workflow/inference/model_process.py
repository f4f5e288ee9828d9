"""Sync client of a model in a process of its own: a model that crashes or hangs does not affect the caller.

Scoring needs what the worker of the service (worker.py) leaves out: the Python package of the model family, which
predicts large batches on all cores, its warnings in the log of the run, and smaller batches when memory runs out.

Frames to the process: 8 bytes length (little endian), then the data: the model kind, the model file, then each X (npy).
Frames from the process have one byte before the length, the type of the frame:

    A   result: empty when the model is loaded, then one (npy) for each X
    W   a warning for the log; the result follows
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
from ai_workflow.plugins import search_path
from ai_workflow.runtime import memory_pressure
from ai_workflow.runtime.stall_timeout import StallTimeout
from ai_workflow.telemetry import logs, trace_context

if TYPE_CHECKING:
    import numpy as np

    from ai_workflow.features.calibration import Calibrator

_HEAD = struct.Struct("<cQ")
_RESULT, _WARNING, _NO_MEMORY = b"A", b"W", b"M"
_REMEDY = f"{memory_pressure.MORE_MEMORY}, or train a smaller model: trainer.params"


class ModelFailedError(AiWorkflowError):
    """The model crashed, timed out, or returned an invalid result."""


class ModelProcess:
    """A model subprocess; use it as a context manager.

    Args:
        name: the version, for messages.
        kind: the model family.
        model: the bytes of the model file, verified.
        timeout: seconds that loading and each prediction may take without progress of the process.
        calibrator: calibrates the probabilities of the model, if it is given.
    """

    def __init__(
        self, name: str, kind: str, model: bytes, timeout: float, calibrator: Calibrator | None = None
    ) -> None:
        self._name, self.kind, self._model, self._timeout = name, kind, model, timeout
        self._calibrator = calibrator
        self._batches = memory_pressure.BatchSplitter(None, memory_pressure.MIN_BATCH_ROWS, _REMEDY)

    def __enter__(self) -> ModelProcess:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "ai_workflow.inference.model_process"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            env=search_path.environment(),
        )
        try:
            self._request("load", self.kind.encode(), self._model)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Return the predictions for (n, features) float32: (n, classes) or (n,), in batches that fit into memory.

        Raises:
            ModelFailedError: the process died or timed out, or its result has another shape or is not finite.
            MemoryError: the smallest batch does not fit into memory.
        """
        import numpy as np

        return np.concatenate(self._batches.each(len(x), lambda start, end: self._predict(x[start:end])))

    def _predict(self, x: np.ndarray) -> np.ndarray:
        import numpy as np

        out = io.BytesIO()
        np.save(out, x, allow_pickle=False)
        predictions: np.ndarray = np.load(io.BytesIO(self._request("answer", out.getvalue())), allow_pickle=False)
        if len(predictions) != len(x) or not np.isfinite(predictions).all():
            raise ModelFailedError(
                f"{self._name} returned {predictions.shape} for {len(x)} rows, or a prediction that is not finite"
            )
        return self._calibrator.apply(predictions) if self._calibrator else predictions

    def _request(self, action: str, *frames: bytes) -> bytes:
        """Send frames and return the result."""
        deadline = StallTimeout(self._process.pid, self._timeout)
        for frame in frames:
            self._send(struct.pack("<Q", len(frame)), deadline, action)
            self._send(frame, deadline, action)
        while True:
            kind, size = _HEAD.unpack(self._receive(_HEAD.size, deadline, action))
            data = self._receive(size, deadline, action)
            if kind == _RESULT:
                return data
            text = data.decode(errors="replace")
            if kind == _NO_MEMORY:
                problem, _, remedy = text.partition("\n")
                raise memory_pressure.OutOfMemoryError(f"{self._name}: {problem}", remedy or _REMEDY)
            logs.logger(trace_context.current_stage() or "model").warning("%s", text)

    def _send(self, data: bytes, deadline: StallTimeout, action: str) -> None:
        assert self._process.stdin is not None
        handle, remaining = self._process.stdin.fileno(), memoryview(data)
        # A write into the full pipe of a process that hangs would block.
        os.set_blocking(handle, False)
        while remaining:
            self._wait(handle, select.POLLOUT, deadline, action)
            try:
                remaining = remaining[os.write(handle, remaining) :]
            except BrokenPipeError as error:
                raise self._died() from error

    def _receive(self, size: int, deadline: StallTimeout, action: str) -> bytes:
        assert self._process.stdout is not None
        handle, received = self._process.stdout.fileno(), bytearray()
        while len(received) < size:
            self._wait(handle, select.POLLIN, deadline, action)
            chunk = os.read(handle, min(size - len(received), 1 << 20))
            if not chunk:
                raise self._died()
            received += chunk
        return bytes(received)

    def _wait(self, handle: int, event: int, deadline: StallTimeout, action: str) -> None:
        poll = select.poll()
        poll.register(handle, event)
        while not poll.poll(deadline.wait_seconds * 1000):
            if reason := deadline.reason:
                raise ModelFailedError(f"{self._name} did not {action}: {reason} (model.timeout: {self._timeout:g})")

    def _died(self) -> ModelFailedError:
        code = self._process.wait()
        how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
        return ModelFailedError(f"the process of {self._name} {how}")


def _write(pipe: IO[bytes], kind: bytes, data: bytes | memoryview) -> None:
    pipe.write(_HEAD.pack(kind, len(data)))
    pipe.write(data)
    pipe.flush()


class _Warnings(logging.Handler):
    """Log handler that sends warnings of this process to its parent."""

    def __init__(self, replies: IO[bytes]) -> None:
        super().__init__(logging.WARNING)
        self._replies = replies

    def emit(self, record: logging.LogRecord) -> None:
        """Send the text of a record."""
        _write(self._replies, _WARNING, record.getMessage().encode())


def _read(pipe: IO[bytes]) -> bytes | None:
    head = pipe.read(8)
    if len(head) < 8:
        return None
    (size,) = struct.unpack("<Q", head)
    return pipe.read(size)


def _serve(requests: Any, replies: Any) -> None:
    from ai_workflow.training import protocol

    kind, model = _read(requests), _read(requests)
    if kind is None or model is None:
        return
    predict = protocol.load(kind.decode(), model)
    _write(replies, _RESULT, b"")
    while (data := _read(requests)) is not None:
        problem = None
        try:
            result = _predict(predict, data)
        except MemoryError as error:
            problem = error
        if problem is None:
            _write(replies, _RESULT, result)
            continue
        del data
        _write_memory_error(replies, problem)
        problem = None
        memory_pressure.release()


def _predict(predict: Any, data: bytes) -> memoryview:
    import numpy as np

    out = io.BytesIO()
    np.save(out, predict(np.load(io.BytesIO(data), allow_pickle=False)), allow_pickle=False)
    return out.getbuffer()


def _write_memory_error(replies: IO[bytes], error: MemoryError) -> None:
    shortage = memory_pressure.to_memory_error(error, "", _REMEDY)
    _write(replies, _NO_MEMORY, f"{' '.join(shortage.problem.split())}\n{shortage.remedy}".encode())


if __name__ == "__main__":
    # Output of libraries must not get among the replies.
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    logging.getLogger(logs.ROOT).addHandler(_Warnings(replies))
    try:
        _serve(sys.stdin.buffer, replies)
    except Exception as error:  # one line; the caller adds the name of the version
        if shortage := memory_pressure.shortage(error):
            _write_memory_error(replies, shortage)
            sys.exit(1)
        sys.exit(f"{type(error).__name__}: {' '.join(str(error).split())}")
