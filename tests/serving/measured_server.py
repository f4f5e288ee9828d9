"""`ai-workflow serve` on an event loop that measures itself: FILE, then the command's arguments.

With `OUTPUTS` in the environment every model answers so many numbers to a row, see `wide_worker`.
The file holds the longest CPU time that the thread of the event loop spent in one callback, in seconds.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from pathlib import Path

import uvloop

from ai_workflow.cli.main import main
from ai_workflow.inference import model_worker


def measure(file: Path) -> None:
    """Write the longest callback to a file that exists; emptied, it begins again."""
    run, worst = asyncio.Handle._run, 0.0

    def measured(handle: asyncio.Handle) -> None:
        nonlocal worst
        began = time.thread_time()
        run(handle)
        took = time.thread_time() - began
        if took > 0.002 and file.exists() and (not file.read_text() or took > worst):
            worst = took
            # Of a task, its coroutine.
            what = getattr(getattr(handle, "_callback", None), "__self__", None) or handle
            file.write_text(f"{worst:.4f} {str(what)[:300]}")

    asyncio.Handle._run = measured  # type: ignore[method-assign]
    uvloop.new_event_loop = asyncio.SelectorEventLoop  # type: ignore[assignment]


if __name__ == "__main__":
    measure(Path(sys.argv[1]))
    if outputs := os.environ.get("OUTPUTS"):
        model_worker.COMMAND = (sys.executable, "-P", str(Path(__file__).with_name("wide_worker.py")), outputs)
    main(sys.argv[2:])
