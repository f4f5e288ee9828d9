"""DEBUG lines about attempts that failed and are retried."""

from __future__ import annotations

import asyncio

import pytest

from ai_workflow.errors import TransientError
from ai_workflow.orchestration import stage_task


def test_debug_log_shows_failed_attempt_number(caplog: pytest.LogCaptureFixture) -> None:
    def down() -> None:
        raise TransientError("the database cannot be reached", "Is it running?")

    caplog.set_level("DEBUG", logger="ai_pipeline")
    attempt = stage_task.Attempt(down, stage_task.StageErrors("data_loader"))  # type: ignore[arg-type]
    state = asyncio.run(stage_task._perform("key", attempt))
    assert state.name == "Transient"  # type: ignore[union-attr]
    assert "retry: attempt 1 of 3 failed" in caplog.messages
