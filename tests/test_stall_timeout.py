"""A timeout that counts only time without progress."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ai_workflow.runtime.stall_timeout import StallTimeout, group_cpu_ticks, process_cpu_ticks


class Machine:
    """A clock, and a process that gets CPU time as the test says."""

    def __init__(self) -> None:
        self.now, self.ticks = 100.0, 7

    def timeout(self, seconds: float) -> StallTimeout:
        return StallTimeout(1, seconds, clock=lambda: self.now, cpu=lambda _: self.ticks)

    def passes(self, seconds: float, ticks: int = 0) -> None:
        self.now += seconds
        self.ticks += ticks


def test_process_without_progress_times_out() -> None:
    machine = Machine()
    timeout = machine.timeout(30)
    machine.passes(29.9)
    assert timeout.reason is None
    machine.passes(0.1)
    assert timeout.reason == "it made no progress for 30 s"


def test_process_with_progress_does_not_time_out() -> None:
    machine = Machine()
    timeout = machine.timeout(30)
    for _ in range(9):
        machine.passes(30, ticks=1)
        assert timeout.reason is None
    machine.passes(30)
    assert timeout.reason == "it made no progress for 30 s"


def test_busy_process_times_out_after_ten_timeouts() -> None:
    machine = Machine()
    timeout = machine.timeout(30)
    for _ in range(9):
        machine.passes(30, ticks=1)
        assert timeout.reason is None
    machine.passes(30, ticks=1)
    assert timeout.reason == "it was still busy after 300 s"


def test_child_exit_counts_as_progress() -> None:
    machine = Machine()
    timeout = machine.timeout(30)
    machine.passes(30, ticks=-5)
    assert timeout.reason is None


@pytest.mark.parametrize("seconds", [0.2, 30.0])
def test_wait_time_never_exceeds_deadline(seconds: float) -> None:
    machine = Machine()
    timeout = machine.timeout(seconds)
    assert timeout.wait_seconds == pytest.approx(min(1.0, seconds))
    machine.passes(seconds - 0.1)
    assert timeout.wait_seconds == pytest.approx(0.1)
    machine.passes(1)
    assert timeout.wait_seconds == 0


@pytest.mark.integration
def test_cpu_ticks_count_process_and_group() -> None:
    code = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'while True: pass'])"
    leader = subprocess.Popen([sys.executable, "-c", code], start_new_session=True)
    try:
        before = group_cpu_ticks(leader.pid)
        while group_cpu_ticks(leader.pid) < before + 20:
            assert leader.poll() is None
        assert process_cpu_ticks(leader.pid) < group_cpu_ticks(leader.pid)
    finally:
        os.killpg(leader.pid, signal.SIGKILL)
        leader.wait()
    assert process_cpu_ticks(leader.pid) == 0


@pytest.mark.integration
def test_group_ticks_include_detached_descendants_and_ended_children() -> None:
    busy = "import time\nwhile time.process_time() < 0.3: pass"
    code = f"""
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", {busy!r}], start_new_session=True)
print(child.wait(), flush=True)
subprocess.Popen([sys.executable, "-c", "while True: pass"], start_new_session=True)
sys.stdin.read()
"""
    leader = subprocess.Popen(
        [sys.executable, "-c", code], start_new_session=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    children: list[int] = []
    try:
        assert leader.stdout
        assert leader.stdout.readline() == b"0\n"
        before = group_cpu_ticks(leader.pid)
        assert before >= process_cpu_ticks(leader.pid) + 0.3 * os.sysconf("SC_CLK_TCK") - 1
        while not children:
            listed = Path(f"/proc/{leader.pid}/task/{leader.pid}/children").read_text()
            children = [int(child) for child in listed.split()]
        while group_cpu_ticks(leader.pid) < before + 20:
            assert leader.poll() is None
    finally:
        for pid in (*children, leader.pid):
            os.kill(pid, signal.SIGKILL)
        leader.communicate()
