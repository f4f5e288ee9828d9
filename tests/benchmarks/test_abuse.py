"""The benchmark of harm says by how much healthy callers waited longer, pair by pair, and whether the goal is met."""

from __future__ import annotations

import pytest

from benchmarks import abuse
from benchmarks.http_load import Measurement


def found(p99: float) -> Measurement:
    return Measurement(answers=100, seconds=2.0, cpu=0.1, p50_ms=1.0, p99_ms=p99, most_ms=2 * p99)


def test_abuse_report_uses_worst_ratio_of_paired_rounds() -> None:
    told = abuse.render({"idle": [(found(1), found(1.5)), (found(10), found(12))], "slow": [(found(2), found(5))]})
    assert "p99 of well-behaved clients within 2x: 2.50, missed" in told
    assert "met" in abuse.render({"idle": [(found(1), found(2))]})
    assert "     1.35 " in told


def test_unknown_abuse_kind_error_lists_available_names(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        abuse.main(["--only", "rudeness"])
    assert "unknown load 'rudeness'. Loads: idle, slow, huge, deep, wrong" in capsys.readouterr().err


@pytest.mark.soak
def test_short_abuse_benchmark_measures_healthy_client_latency(capsys: pytest.CaptureFixture[str]) -> None:
    abuse.main(["--rounds", "1", "--seconds", "0.3", "--only", "wrong"])
    assert "goal: p99 of well-behaved clients" in capsys.readouterr().out
