"""Progress of a long stage: a bar on a terminal, a progress artifact in the Prefect UI."""

from __future__ import annotations

import asyncio
import sys
import time
from typing import Any

from prefect.artifacts import acreate_progress_artifact, aupdate_progress_artifact

from ai_workflow.runtime import progress
from ai_workflow.telemetry.logs import logger

# Delay before the first bar, and the shortest interval between updates of the UI.
UPDATE_SECONDS = 2.0
log = logger("progress")


class StageProgress:
    """Receiver of the progress reports of one stage within its context."""

    def __init__(self, stage: str) -> None:
        self._stage = stage
        self._loop = asyncio.get_running_loop()
        self._started = self._updated = time.monotonic()
        self._bar: Any = None
        self._row: Any = None
        self._artifact: Any = None

    def __enter__(self) -> StageProgress:
        progress.set_receiver(self._show)
        return self

    def __exit__(self, *_: object) -> None:
        progress.set_receiver(None)
        if self._bar is not None:
            self._bar.stop()

    def _show(self, done: int, total: int, note: str) -> None:
        now = time.monotonic()
        if now - self._started < UPDATE_SECONDS:
            return
        if sys.stderr.isatty():
            self._draw(done, total, note)
        if now - self._updated >= UPDATE_SECONDS or (done == total and self._artifact is not None):
            self._updated = now
            asyncio.run_coroutine_threadsafe(self._update(100.0 * done / max(1, total), note), self._loop)

    def _draw(self, done: int, total: int, note: str) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        if self._bar is None:
            columns = (
                "{task.description}",
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.fields[note]}"),
            )
            self._bar = Progress(*columns, console=Console(stderr=True), transient=True)
            self._row = self._bar.add_task(self._stage, total=total, note=note)
            self._bar.start()
        self._bar.update(self._row, completed=done, total=total, note=note)

    async def _update(self, percent: float, note: str) -> None:
        try:
            if self._artifact is None:
                key = f"{self._stage.replace('_', '-')}-progress"
                self._artifact = await acreate_progress_artifact(percent, key=key, description=f"{self._stage}: {note}")
            else:
                await aupdate_progress_artifact(self._artifact, percent, description=f"{self._stage}: {note}")
        except Exception as error:
            log.debug("progress could not be shown: %s", error)
