"""The overhead benchmark: it measures what it says it does, and does not embellish."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import overhead_report
from benchmarks.measure import BenchmarkError, Cost, cost, spread
from benchmarks.overhead_report import BARE, CACHED, COLD, IMPORT, Costs

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]
SPIN = "import time; time.sleep(0.2)\nwhile time.process_time() < 0.3: pass\nb'x' * 2**28"
SPIN_IN_A_CHILD = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {SPIN!r}])"


@pytest.mark.parametrize("code", [SPIN, SPIN_IN_A_CHILD], ids=["itself", "its child"])
def test_process_cost_includes_child_processes(tmp_path: Path, code: str) -> None:
    found = cost([sys.executable, "-c", code], os.environ, tmp_path, tmp_path / "log")

    assert 0.3 <= found.cpu < 5
    assert found.seconds >= 0.4
    assert 256 <= found.mebibytes < 2048


def test_failed_process_error_contains_last_output(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match="code 3:\nno luck"):
        cost([sys.executable, "-c", "import sys; print('no luck'); sys.exit(3)"], {}, tmp_path, tmp_path / "log")


def test_spread_returns_minimum_median_and_maximum() -> None:
    assert spread([9.0, 1.0, 2.0]) == (1.0, 2.0, 9.0)


def test_overhead_is_computed_per_round() -> None:
    costs = _costs(bare=[1.0, 5.0, 2.0], cold=[2.0, 6.5, 3.0], cached=[1.0] * 3)

    assert overhead_report.added(costs) == [1.0, 1.5, 1.0]


@pytest.mark.parametrize(("cached", "verdict"), [(1.49, "met"), (1.51, "missed")])
def test_report_marks_missed_and_met_goals(cached: float, verdict: str) -> None:
    costs = _costs(bare=[2.0], cold=[4.0], cached=[cached])

    text = overhead_report.render(costs, overhead_report.goals(costs), "here")

    assert "missed flow cold adds to bare calls: 2.00 s, at most 1.50 s" in text
    assert f"{verdict:<7}flow cached takes, imports included: {cached:.2f} s" in text


def test_unknown_benchmark_error_lists_available_names() -> None:
    found = _benchmarks("overheat")

    assert found.returncode == 2
    assert "there is no benchmark 'overheat'; there is: overhead, resume" in found.stderr


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_overhead_benchmark_measures_four_cases_and_reports(tmp_path: Path) -> None:
    found = _benchmarks("overhead", "--pairs", "1", "--sample", "--json", str(tmp_path / "found.json"))

    assert found.returncode == 0, found.stderr
    body = json.loads((tmp_path / "found.json").read_text())
    seconds = {name: runs[0]["seconds"] for name, runs in body["runs"].items()}
    assert seconds.keys() == {IMPORT, BARE, COLD, CACHED}
    assert seconds[COLD] > seconds[CACHED] > seconds[IMPORT] / 2
    assert [goal["met"] for goal in body["goals"]] == [goal["seconds"] <= goal["most"] for goal in body["goals"]]
    assert found.stdout.count("at most 1.50 s") == 2


def _costs(*, bare: list[float], cold: list[float], cached: list[float]) -> Costs:
    found = {IMPORT: [1.0] * len(bare), BARE: bare, COLD: cold, CACHED: cached}
    return {name: [Cost(value, value, 100.0) for value in values] for name, values in found.items()}


def _benchmarks(*given: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks", *given]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
