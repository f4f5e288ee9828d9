"""CPU time is that of a whole process tree."""

from __future__ import annotations

import subprocess
import sys

import pytest

from benchmarks import process_tree
from benchmarks.measure import BenchmarkError

pytestmark = pytest.mark.integration

SPIN = "import time\nwhile time.process_time() < 0.2: pass"
# A child that it waits for, one that it does not, in a session of its own, and then it sits there.
FAMILY = f"""
import subprocess, sys, time
subprocess.run([sys.executable, "-c", {SPIN!r}])
then = {SPIN!r} + "\\nprint('spun', flush=True)\\ntime.sleep(60)"
subprocess.Popen([sys.executable, "-c", then], start_new_session=True)
time.sleep(60)
"""


@pytest.mark.parametrize("name", ["python", "a) S 1 (b", "two words"])
def test_process_stat_is_parsed_for_any_process_name(name: str) -> None:
    rest = " ".join(str(number) for number in range(4, 53))

    found = process_tree.parse(f"7 ({name}) S {rest}")

    assert found == process_tree.Process(parent=4, session=6, ticks=14 + 15 + 16 + 17, started=22)


def test_cpu_time_includes_running_and_ended_children() -> None:
    family = subprocess.Popen([sys.executable, "-c", FAMILY], stdout=subprocess.PIPE, start_new_session=True)
    try:
        assert family.stdout is not None
        assert family.stdout.readline() == b"spun\n"
        found, own = process_tree.cpu_seconds(family.pid), process_tree.members(family.pid)
    finally:
        process_tree.kill(process_tree.members(family.pid))
        family.communicate()

    assert len(own) == 2
    assert 0.38 <= found < 3


def test_ended_process_raises_benchmark_error() -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()

    with pytest.raises(BenchmarkError, match=f"process {ended.pid} is not there any more"):
        process_tree.cpu_seconds(ended.pid)
