"""`ai-workflow serve` on an event loop that measures itself: FILE, then the command's arguments.

The file holds the longest CPU time that the thread of the event loop spent in one callback, in seconds.
"""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path

import uvloop

from ai_workflow.cli import main


def measure(file: Path) -> None:
    """Write the longest callback to a file that exists; emptied, it begins again."""
    run, worst = asyncio.Handle._run, 0.0

    def measured(handle: asyncio.Handle) -> None:
        nonlocal worst
        began = time.thread_time()
        run(handle)
        took = time.thread_time() - began
        if took > 0.002 and file.exists():
            worst = took if not file.read_text() else max(worst, took)
            file.write_text(f"{worst:.4f} {str(handle)[:200]}")

    asyncio.Handle._run = measured  # type: ignore[method-assign]
    uvloop.new_event_loop = asyncio.SelectorEventLoop  # type: ignore[assignment]


if __name__ == "__main__":
    measure(Path(sys.argv[1]))
    main(sys.argv[2:])
