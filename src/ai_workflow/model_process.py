"""A model in a process of its own: a file that crashes the parser, or a model that hangs, cannot take the caller along.

Frames on the pipes: 8 bytes length (little endian), then the bytes. First the model's kind, then its file; the process
answers `ok`. Then for each X (npy) one answer (npy).
"""

from __future__ import annotations

import io
import os
import select
import struct
import subprocess
import sys
from typing import IO, TYPE_CHECKING, Any

from ai_workflow.errors import AiWorkflowError
from ai_workflow.stall import StallTimeout

if TYPE_CHECKING:
    import numpy as np


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
        self._name, self._kind, self._model, self._timeout = name, kind, model, timeout

    def __enter__(self) -> ModelProcess:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "ai_workflow.model_process"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
        )
        try:
            self._ask("load", self._kind.encode(), self._model)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Return the model's answers to (n, features) float32: (n, classes) or (n,).

        Raises:
            ModelFailed: the process died, was late, or its answer has another shape or is not finite.
        """
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
        (size,) = struct.unpack("<Q", self._take(8, deadline, what))
        return self._take(size, deadline, what)

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


def _write(pipe: IO[bytes], data: bytes) -> None:
    pipe.write(struct.pack("<Q", len(data)))
    pipe.write(data)
    pipe.flush()


def _read(pipe: IO[bytes]) -> bytes | None:
    head = pipe.read(8)
    if len(head) < 8:
        return None
    (size,) = struct.unpack("<Q", head)
    return pipe.read(size)


def _answer(asked: Any, answers: Any) -> None:
    import numpy as np

    from ai_workflow import trainers

    kind, model = _read(asked), _read(asked)
    if kind is None or model is None:
        return
    predict = trainers.load(kind.decode(), model)
    _write(answers, b"ok")
    while (data := _read(asked)) is not None:
        out = io.BytesIO()
        np.save(out, predict(np.load(io.BytesIO(data), allow_pickle=False)), allow_pickle=False)
        _write(answers, out.getvalue())


if __name__ == "__main__":
    # What a library prints must not end up among the answers.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    try:
        _answer(sys.stdin.buffer, answers)
    except Exception as error:  # whatever a library makes of a bad model: one line, and the caller says which it was
        sys.exit(f"{type(error).__name__}: {' '.join(str(error).split())}")
