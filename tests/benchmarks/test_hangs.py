"""The benchmark of hangs counts late answers and the time until the version answers again."""

from __future__ import annotations

import pytest

from benchmarks import hangs, hangs_report
from benchmarks.hangs_report import Answer, Measured, Phase
from benchmarks.measure import BenchmarkError

NEW, OLD = "v2", "v1"


def phase(began: float, ended: float, *answers: tuple[float, float, str]) -> Phase:
    return Phase(began, ended, tuple(Answer(*one) for one in answers))


def measured(late: int = 2, stopped: int = 1, after: Phase | None = None) -> Measured:
    """Return 100 answers a second without a fault, and 50 with one, of which some took 600 ms at the same time."""
    before = [(number / 100, 0.01, NEW) for number in range(200)]
    during = [(10.6, 0.6, OLD)] * late + [(11.0, 0.02, OLD)] * (100 - late)
    settled = phase(12, 15, (12.1, 0.01, OLD), (12.5, 0.01, NEW), (13.0, 0.01, OLD), (14.5, 0.01, NEW))
    return Measured(phase(0, 2, *before), phase(10, 12, *during), after or settled, 12.0, stopped, 1.0)


def test_figures_compare_phase_with_hangs_to_baseline() -> None:
    found = hangs_report.figures(measured(), NEW)

    assert (found.rates, found.rate_ratio) == ((100, 50), 0.5)
    assert (found.p99_ms, found.p99_ratio) == ((10, 600), 60)
    assert (found.late, found.late_share) == (2, 0.02)
    assert found.waiting == pytest.approx(0.3), "0.6 of 2 s, although two waited"
    assert (found.back, found.settled) == (pytest.approx(0.5), pytest.approx(1.0))


@pytest.mark.parametrize(("late", "said"), [(16, "at most 16: met"), (17, "at most 16: missed")])
def test_goal_allows_single_late_response_per_connection(late: int, said: str) -> None:
    assert said in hangs_report.render(measured(late), NEW, 16)


@pytest.mark.parametrize(("at", "said"), [(13.9, "within 2 s: met"), (14.1, "within 2 s: missed")])
def test_slow_recovery_misses_goal(at: float, said: str) -> None:
    after = phase(12, 15, (12.1, 0.01, OLD), (at, 0.01, NEW))

    assert said in hangs_report.render(measured(after=after), NEW, 16)


@pytest.mark.parametrize("wrong", [measured(stopped=0), measured(after=phase(12, 15, (12.1, 0.01, OLD)))])
def test_missing_hang_or_recovery_raises_benchmark_error(wrong: Measured) -> None:
    with pytest.raises(BenchmarkError):
        hangs_report.figures(wrong, NEW)


def test_version_is_settled_without_other_versions_in_responses() -> None:
    mixed = phase(12, 15, (14.2, 0.01, OLD), (14.8, 0.01, NEW))

    assert hangs_report.is_settled(mixed, NEW, 0.5)
    assert not hangs_report.is_settled(mixed, NEW, 1.0)
    assert not hangs_report.is_settled(phase(12, 15), NEW, 1.0)


@pytest.mark.soak
def test_short_hang_benchmark_stops_processes_and_reports(capsys: pytest.CaptureFixture[str]) -> None:
    hangs.main(["--seconds", "2", "--healthy", "0.5"])

    told = capsys.readouterr().out
    assert "past the deadline: " in told
    assert "model_v1.1 answers " in told
