"""The process of one model: answers its parent's questions one after the other, and dies with it.

Both ways a head of two unsigned 32-bit numbers, little endian, then the data:

    question: rows, 0                   float32 (rows, features)
    answer:   ANSWER, count             float64 (rows, outputs): count of them
              FAILED, bytes             what the model said of it, as UTF-8
              READY, outputs per row    once, when the model is loaded
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import struct
import sys
from collections.abc import Callable

HEAD = struct.Struct("<II")
ANSWER, FAILED, READY = range(3)
_PR_SET_PDEATHSIG = 1
_FIRST_BUFFER = 1 << 16
# Up to this many answers are handled on the event loop; more as an array, or in a thread.
FEW_VALUES = 2048

# Takes the rows, and how many there are; the answers as float64 in one buffer.
Answer = Callable[[memoryview, int], "bytes | bytearray | memoryview"]


def load(kind: str, model: int, features: int) -> tuple[Answer, int]:
    """Return what answers by a model, and how many numbers it answers to each row.

    Args:
        kind: the model family.
        model: an open file with the model; a byte 0 follows it.
        features: numbers in each row.
    """
    if kind == "lightgbm":
        from ai_workflow.inference import lightgbm_native

        return lightgbm_native.load(model, features)
    from ai_workflow.inference import python_runtime

    return python_runtime.load(kind, model, features)


def die_with(parent: int) -> None:
    """Have the kernel kill this process when its parent is gone: one that hangs in C sees no end of file."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(0)


def serve(parent: socket.socket, answer: Answer, features: int) -> None:
    """Answer until the parent hangs up."""
    buffer = memoryview(bytearray(_FIRST_BUFFER))
    while got := parent.recv_into(buffer):
        while got < HEAD.size:
            got += _more(parent, buffer[got:])
        rows, _ = HEAD.unpack_from(buffer)
        size = HEAD.size + rows * features * 4
        if size > len(buffer):
            buffer, old = memoryview(bytearray(size)), buffer
            buffer[:got] = old[:got]
        while got < size:
            got += _more(parent, buffer[got:size])
        try:
            answered = answer(buffer[HEAD.size : size], rows)
        except Exception as error:  # whatever a model raises: the parent says which version it was
            text = f"{type(error).__name__}: {error}".encode()[:1000]
            parent.sendall(HEAD.pack(FAILED, len(text)) + text)
            continue
        parent.sendall(b"".join((HEAD.pack(ANSWER, len(answered) // 8), answered)))


def _more(parent: socket.socket, into: memoryview) -> int:
    got = parent.recv_into(into)
    if not got:
        os._exit(0)
    return got


def main(arguments: list[str]) -> None:
    """Load the model, say so, and serve: PARENT'S PROCESS ID, SOCKET, MODEL FILE (both open), KIND, FEATURES."""
    pid, handle, model, kind, features = arguments
    die_with(int(pid))
    # The parent decides when this process ends, not who presses Ctrl-C.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = socket.socket(fileno=int(handle))
    try:
        answer, outputs = load(kind, int(model), int(features))
    except Exception as error:  # whatever a library makes of a bad model: one line, and the parent says which it was
        sys.exit(f"{type(error).__name__}: {' '.join(str(error).split())}")
    parent.sendall(HEAD.pack(READY, outputs))
    serve(parent, answer, int(features))


if __name__ == "__main__":
    main(sys.argv[1:])
