"""The benchmark of harm says by how much healthy callers waited longer, pair by pair, and whether the goal is met."""

from __future__ import annotations

import pytest

from benchmarks import abuse
from benchmarks.http_load import Measurement


def found(p99: float) -> Measurement:
    return Measurement(answers=100, seconds=2.0, cpu=0.1, p50_ms=1.0, p99_ms=p99, most_ms=2 * p99)


def test_the_ratio_is_taken_within_each_pair_and_the_worst_kind_decides() -> None:
    told = abuse.render({"idle": [(found(1), found(1.5)), (found(10), found(12))], "slow": [(found(2), found(5))]})
    assert "p99 of well-behaved clients within 2x: 2.50, missed" in told
    assert "met" in abuse.render({"idle": [(found(1), found(2))]})
    assert "     1.35 " in told


def test_an_unknown_kind_of_harm_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        abuse.main(["--only", "rudeness"])
    assert "unknown load 'rudeness'. Loads: idle, slow, huge, deep, wrong" in capsys.readouterr().err


@pytest.mark.slow
def test_a_short_run_measures_healthy_callers_beside_a_guesser_of_tokens(capsys: pytest.CaptureFixture[str]) -> None:
    abuse.main(["--rounds", "1", "--seconds", "0.3", "--only", "wrong"])
    assert "goal: p99 of healthy callers" in capsys.readouterr().out
