"""What progress promises: reports reach whoever watches, in threads that copy the context too, and nobody else."""

from __future__ import annotations

import asyncio
import contextvars

from ai_workflow.runtime import progress


def test_progress_report_without_watcher_is_ignored() -> None:
    contextvars.Context().run(progress.report, 1, 2)


def test_progress_reports_reach_watcher_until_removed() -> None:
    seen: list[tuple[int, int, str]] = []

    def work() -> None:
        progress.set_receiver(lambda *told: seen.append(told))
        progress.report(1, 2, "rows")
        progress.report(2, 2)
        progress.set_receiver(None)
        progress.report(3, 3)

    contextvars.copy_context().run(work)
    assert seen == [(1, 2, "rows"), (2, 2, "")]


def test_thread_with_copied_context_reports_progress() -> None:
    seen: list[int] = []

    async def work() -> None:
        progress.set_receiver(lambda done, *_: seen.append(done))
        await asyncio.to_thread(progress.report, 7, 9)

    asyncio.run(work())
    progress.report(8, 9)
    assert seen == [7]
