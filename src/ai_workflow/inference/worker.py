"""Worker process of one model: serves the requests of its parent one by one, and ends with it.

Requests and replies have a header of two unsigned 32-bit integers, little endian, then the data:

    request: rows, action              float32 (rows, features)
    reply:   RESULT, count             `count` values of float64: PREDICT (rows, outputs),
                                       EXPLAIN (rows, outputs, features of the model + 1)
             FAILED, bytes             the error text of the model, as UTF-8
             READY, outputs per row    once, when the model is loaded
             EXPLAINABLE, outputs      the same, for a model with contributions
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import struct
import sys
from collections.abc import Callable
from typing import NamedTuple

HEAD = struct.Struct("<II")
RESULT, FAILED, READY, EXPLAINABLE = range(4)
PREDICT, EXPLAIN = range(2)
_PR_SET_PDEATHSIG = 1
_FIRST_BUFFER_BYTES = 1 << 16
# Up to this many outputs are handled on the event loop; more as an array, or in a thread.
FEW_VALUES = 2048

# Takes the rows and their number; returns the outputs as float64 in one buffer.
Predict = Callable[[memoryview, int], "bytes | bytearray | memoryview"]


class LoadedFunctions(NamedTuple):
    """The prediction function of a model, its number of outputs per row, and its contributions if it has them."""

    predict: Predict
    outputs: int
    contributions: Predict | None = None


def load(kind: str, model: int, features: int) -> LoadedFunctions:
    """Return the functions of a model.

    Args:
        kind: the model family.
        model: an open file with the model; a zero byte follows it.
        features: number of values in each row.
    """
    if kind == "lightgbm":
        from ai_workflow.inference import lightgbm_native

        return lightgbm_native.load(model, features)
    from ai_workflow.inference import python_runtime

    return python_runtime.load(kind, model, features)


def _load_with_spec(kind: str, model: int, features: int, spec: int) -> LoadedFunctions:
    from ai_workflow.inference import model_of_spec

    return model_of_spec.load(kind, model, features, spec, load)


def exit_with_parent(parent: int) -> None:
    """Request SIGKILL when the parent ends, because a process that hangs in C does not notice it."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(0)


def serve(parent: socket.socket, model: LoadedFunctions, features: int) -> None:
    """Serve requests until the parent closes the connection."""
    predict, _, contributions = model
    buffer = memoryview(bytearray(_FIRST_BUFFER_BYTES))
    while received := parent.recv_into(buffer):
        while received < HEAD.size:
            received += _receive(parent, buffer[received:])
        rows, action = HEAD.unpack_from(buffer)
        size = HEAD.size + rows * features * 4
        if size > len(buffer):
            buffer, old = memoryview(bytearray(size)), buffer
            buffer[:received] = old[:received]
        while received < size:
            received += _receive(parent, buffer[received:size])
        try:
            work = contributions if action and contributions else predict
            outputs = work(buffer[HEAD.size : size], rows)
        except Exception as error:  # the parent adds the name of the version
            text = f"{type(error).__name__}: {error}".encode()[:1000]
            parent.sendall(HEAD.pack(FAILED, len(text)) + text)
            continue
        parent.sendall(b"".join((HEAD.pack(RESULT, len(outputs) // 8), outputs)))


def _receive(parent: socket.socket, buffer: memoryview) -> int:
    received = parent.recv_into(buffer)
    if not received:
        os._exit(0)
    return received


def main(arguments: list[str]) -> None:
    """Load the model, send READY, and serve.

    Args:
        arguments: PARENT_PID, SOCKET and MODEL (open file descriptors), KIND, FEATURES, and SPEC (an open file
            descriptor) for a version with feature functions or calibrated probabilities.
    """
    pid, handle, model, kind, features, *spec = arguments
    exit_with_parent(int(pid))
    # Ctrl-C goes to the whole process group; the parent ends this process.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = socket.socket(fileno=int(handle))
    try:
        with_spec = _load_with_spec(kind, int(model), int(features), int(spec[0])) if spec else None
        loaded = with_spec or load(kind, int(model), int(features))
    except Exception as error:  # one line; the parent adds the name of the version
        sys.exit(f"{type(error).__name__}: {' '.join(str(error).split())}")
    parent.sendall(HEAD.pack(EXPLAINABLE if loaded.contributions else READY, loaded.outputs))
    serve(parent, loaded, int(features))


if __name__ == "__main__":
    main(sys.argv[1:])
