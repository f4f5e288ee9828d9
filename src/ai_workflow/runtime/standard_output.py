"""Standard output of a command whose reader may exit first, as `| head` does."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

CLOSED_EXIT_CODE = 128 + signal.SIGPIPE


@contextlib.contextmanager
def exit_when_closed() -> Iterator[None]:
    """Exit with 141 and without a traceback if the reader of standard output has closed it.

    Raises:
        BrokenPipeError: another pipe is broken.
    """
    try:
        try:
            yield
        finally:
            # Flushed here, because at the exit of Python the error could not be caught.
            if sys.stdout is not None:
                sys.stdout.flush()
    except BrokenPipeError:
        if not _is_closed():
            raise
        # Python flushes once more when it exits.
        with Path(os.devnull).open("w") as nowhere:
            os.dup2(nowhere.fileno(), sys.stdout.fileno())
        sys.exit(CLOSED_EXIT_CODE)


def _is_closed() -> bool:
    """Return whether the reader of the standard output has closed its end."""
    try:
        number = sys.stdout.fileno()
    except (OSError, ValueError):
        return False
    poll = select.poll()
    poll.register(number, 0)
    return any(events & (select.POLLERR | select.POLLHUP) for _, events in poll.poll(0))
