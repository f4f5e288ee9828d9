"""A timeout that counts only time without progress."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from ai_workflow.stall import StallTimeout, group_ticks, process_ticks


class Machine:
    """A clock, and a process that gets CPU time as the test says."""

    def __init__(self) -> None:
        self.now, self.ticks = 100.0, 7

    def timeout(self, seconds: float) -> StallTimeout:
        return StallTimeout(1, seconds, clock=lambda: self.now, cpu=lambda _: self.ticks)

    def passes(self, seconds: float, ticks: int = 0) -> None:
        self.now += seconds
        self.ticks += ticks


def test_a_process_without_progress_expires_after_the_timeout() -> None:
    machine = Machine()
    timeout = machine.timeout(30)
    machine.passes(29.9)
    assert timeout.reason is None
    machine.passes(0.1)
    assert timeout.reason == "it made no progress for 30 s"


def test_a_slow_process_is_waited_for_as_long_as_it_makes_progress() -> None:
    machine = Machine()
    timeout = machine.timeout(30)
    for _ in range(9):
        machine.passes(30, ticks=1)
        assert timeout.reason is None
    machine.passes(30)
    assert timeout.reason == "it made no progress for 30 s"


def test_a_process_that_is_busy_for_ever_expires_after_ten_timeouts() -> None:
    machine = Machine()
    timeout = machine.timeout(30)
    for _ in range(9):
        machine.passes(30, ticks=1)
        assert timeout.reason is None
    machine.passes(30, ticks=1)
    assert timeout.reason == "it was still busy after 300 s"


@pytest.mark.parametrize("seconds", [0.2, 30.0])
def test_the_next_look_is_soon_and_never_late(seconds: float) -> None:
    machine = Machine()
    timeout = machine.timeout(seconds)
    assert timeout.wait_seconds == pytest.approx(min(1.0, seconds))
    machine.passes(seconds - 0.1)
    assert timeout.wait_seconds == pytest.approx(0.1)
    machine.passes(1)
    assert timeout.wait_seconds == 0


def test_ticks_are_those_of_a_real_process_and_its_group() -> None:
    code = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'while True: pass'])"
    leader = subprocess.Popen([sys.executable, "-c", code], start_new_session=True)
    try:
        before = group_ticks(leader.pid)
        while group_ticks(leader.pid) < before + 20:
            assert leader.poll() is None
        assert process_ticks(leader.pid) < group_ticks(leader.pid)
    finally:
        os.killpg(leader.pid, signal.SIGKILL)
        leader.wait()
    assert process_ticks(leader.pid) == 0
