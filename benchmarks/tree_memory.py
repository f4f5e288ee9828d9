"""Peak memory of a process and its descendants, sampled from /proc while they run."""

from __future__ import annotations

import contextlib
import os
import threading
from pathlib import Path
from types import TracebackType

PROC = Path("/proc")
_SAMPLE_SECONDS = 0.02


class PeakMemory:
    """Context manager that samples the resident memory of a process tree in a thread.

    Pages that several processes share count in each of them. Without /proc the peak is 0.
    """

    def __init__(self, root: int) -> None:
        self.bytes = 0
        self._root = root
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> PeakMemory:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._ended.wait(_SAMPLE_SECONDS):
            self.bytes = max(self.bytes, sum(_resident(pid) for pid in _tree(self._root)))


def _tree(root: int) -> list[int]:
    """Return a process and its descendants."""
    pids = [root]
    for pid in pids:
        for task in PROC.glob(f"{pid}/task/*/children"):
            # The process or thread ends while it is read.
            with contextlib.suppress(OSError):
                pids += [int(child) for child in task.read_text().split()]
    return pids


def _resident(pid: int) -> int:
    """Return the resident memory of a process in bytes; 0 if it has ended."""
    with contextlib.suppress(OSError):
        return int((PROC / str(pid) / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return 0
