"""`python -m tests.few_threads COUNT MODULE ...`: a program whose process can start only some threads.

The system's own limit does not hold for root, and counts the threads of every process of a user.
"""

from __future__ import annotations

import runpy
import sys
import threading
from typing import Any

STARTERS = ("_start_new_thread", "_start_joinable_thread")
TEXT = "can't start new thread"


def limit(count: int) -> None:
    """Let this process start a number of threads, and fail from then on as Python does at the system's limit."""
    left = [count]

    def limited(start: Any) -> Any:
        def begin(*arguments: Any, **named: Any) -> Any:
            if not left[0]:
                raise RuntimeError(TEXT)
            left[0] -= 1
            return start(*arguments, **named)

        return begin

    for name in STARTERS:
        if start := getattr(threading, name, None):
            setattr(threading, name, limited(start))


if __name__ == "__main__":
    limit(int(sys.argv[1]))
    del sys.argv[:2]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
