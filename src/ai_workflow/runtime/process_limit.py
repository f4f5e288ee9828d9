"""The system limit of processes and threads, reported as one message instead of a traceback."""

from __future__ import annotations

import contextlib
import errno
import resource
import threading
import traceback
from collections.abc import Iterator

from ai_workflow.errors import AiWorkflowError, StageError

_NO_THREAD = "can't start new thread"
_SYSTEM_TEXT = "Resource temporarily unavailable"
# Functions of the standard library that start a process; a socket that is not ready gives the same error number.
_STARTERS = frozenset({"_execute_child", "_launch", "spawnv_passfds"})
_REMEDY = (
    "Raise the limit of processes (ulimit -u, TasksMax= of a unit, the pids limit of a container) or of memory "
    "(ulimit -v), or stop other processes of this user"
)


class ProcessLimitError(StageError):
    """No further thread or process can be started."""


@contextlib.contextmanager
def limit_errors_wrapped() -> Iterator[None]:
    """Replace errors of a reached limit within the context.

    Raises:
        ProcessLimitError: a thread or a process could not be started.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, AiWorkflowError) or not _is_reached(error):
            raise
        raise ProcessLimitError(
            f"no further thread or process can be started{_limit()}: {_text(error)}", _REMEDY
        ) from error


def require_threads(threads: int) -> None:
    """Check that a number of threads can be started.

    Raises:
        ProcessLimitError: the limit of this process does not allow them.
    """
    done = threading.Event()
    started: list[threading.Thread] = []
    try:
        with limit_errors_wrapped():
            for _ in range(threads):
                thread = threading.Thread(target=done.wait, name="required", daemon=True)
                thread.start()
                started.append(thread)
    finally:
        done.set()
        for thread in started:
            thread.join()


def _is_reached(error: BaseException) -> bool:
    if isinstance(error, BaseExceptionGroup):
        return any(_is_reached(part) for part in error.exceptions)
    if isinstance(error, OSError):
        frames = traceback.extract_tb(error.__traceback__)
        return error.errno == errno.EAGAIN and bool(frames) and frames[-1].name in _STARTERS
    return any(text in str(error) for text in (_NO_THREAD, _SYSTEM_TEXT))


def _text(error: BaseException) -> str:
    if isinstance(error, BaseExceptionGroup):
        return _text(next(part for part in error.exceptions if _is_reached(part)))
    return " ".join(str(error).split()).rstrip(".")


def _limit() -> str:
    soft, _ = resource.getrlimit(resource.RLIMIT_NPROC)
    return "" if soft == resource.RLIM_INFINITY else f" (ulimit -u is {soft})"
