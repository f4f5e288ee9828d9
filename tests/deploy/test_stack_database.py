"""The wait for the stack's PostgreSQL: as long as it makes progress."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ai_workflow.local.stack import database
from ai_workflow.local.stack.database import DatabaseError
from ai_workflow.local.stack.paths import StackOptions, StackPaths
from ai_workflow.runtime.stall_timeout import StallTimeout

pytestmark = pytest.mark.integration


class Starting:
    """A database that starts: each look at it takes 50 seconds, and gives it the next amount of CPU time."""

    def __init__(self, ticks: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
        self._left, self.now, self.ticks = ticks, 0.0, 1
        self.timeout = StallTimeout(1, 60.0, clock=lambda: self.now, cpu=lambda _: self.ticks)
        monkeypatch.setattr(database, "problem", self._problem)
        monkeypatch.setattr(database.time, "sleep", lambda _: None)

    def _problem(self, *_: object) -> str | None:
        if not self._left:
            return None
        self.now += 50
        self.ticks += self._left.pop(0)
        return "the database system is starting up"


@pytest.fixture
def process() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as found:
        yield found
        found.kill()


def test_slow_database_recovery_with_progress_is_not_timed_out(
    tmp_path: Path, process: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    starting = Starting([1] * 8, monkeypatch)
    database._wait_for(StackPaths(tmp_path), StackOptions(), process, starting.timeout)
    assert starting.now == 400


def test_database_start_without_progress_times_out_with_message(
    tmp_path: Path, process: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    starting = Starting([1, 1, 0, 0, 0, 0], monkeypatch)
    with pytest.raises(DatabaseError, match=r"it made no progress for 60 s \(the database system is starting up\)"):
        database._wait_for(StackPaths(tmp_path), StackOptions(), process, starting.timeout)


def test_ended_database_process_fails_immediately(
    tmp_path: Path, process: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    starting = Starting([1] * 100, monkeypatch)
    process.kill()
    process.wait()
    with pytest.raises(DatabaseError, match="it ended"):
        database._wait_for(StackPaths(tmp_path), StackOptions(), process, starting.timeout)
    assert starting.now == 50
