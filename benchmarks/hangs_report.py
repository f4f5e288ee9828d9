"""Report of the benchmark of hangs: responses during and after hangs, and those of the healthy service."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from benchmarks.http_load import percentile
from benchmarks.measure import BenchmarkError

# The goal: seconds from the last hang to the first response of `latest`.
BACK_SECONDS = 2.0
# A response is late after this share of the deadline: the attempt of `latest` may take 60 % of it.
LATE_SHARE = 0.5


class Answer(NamedTuple):
    """A response: its time (monotonic seconds), its latency in seconds, and its version."""

    moment: float
    seconds: float
    version: str


@dataclass(frozen=True, slots=True)
class Phase:
    """The responses of a phase of the measurement in order."""

    began: float
    ended: float
    answers: tuple[Answer, ...]

    @property
    def rate(self) -> float:
        """Responses per second."""
        return len(self.answers) / (self.ended - self.began)

    def percentile_ms(self, share: float) -> float:
        """Return a percentile of the latency in milliseconds."""
        return percentile(sorted(1000 * answer.seconds for answer in self.answers), share)

    def longer_than(self, seconds: float) -> int:
        """Return the number of responses that took longer."""
        return sum(answer.seconds > seconds for answer in self.answers)


@dataclass(frozen=True, slots=True)
class Measured:
    """The phases of a measurement.

    Args:
        before: without a fault.
        during: while each process of the version was stopped right after its start.
        after: from the last stop until the version served all requests again.
        ended: the time of the last stop.
        hangs: number of stopped processes.
        deadline: the deadline of a request in seconds.
    """

    before: Phase
    during: Phase
    after: Phase
    ended: float
    hangs: int
    deadline: float


@dataclass(frozen=True, slots=True)
class Figures:
    """The figures of a measurement; ratios relate the phase with hangs to the phase without a fault.

    `late` counts responses that took more than half the deadline, `waiting` is the share of time with a late request
    in flight, `back` the seconds from the last hang to the first response of the version, `settled` those to the
    last response of another version.
    """

    rates: tuple[float, float]
    rate_ratio: float
    p99_ms: tuple[float, float]
    p99_ratio: float
    hangs: int
    late: int
    late_share: float
    waiting: float
    past_deadline: int
    defaults: int
    back: float
    settled: float


def is_settled(after: Phase, version: str, seconds: float) -> bool:
    """Return whether a version served all requests of the last seconds, at least one."""
    last = [answer.version for answer in after.answers if answer.moment >= after.ended - seconds]
    return bool(last) and set(last) == {version}


def figures(measured: Measured, version: str) -> Figures:
    """Return the figures.

    Raises:
        BenchmarkError: no process was stopped, or the version did not recover.
    """
    before, during = measured.before, measured.during
    if not measured.hangs or not before.answers or not during.answers:
        raise BenchmarkError(f"no process of {version} was stopped, or there were no responses")
    late_seconds = LATE_SHARE * measured.deadline
    back = [answer.moment for answer in measured.after.answers if answer.version == version]
    others = [answer.moment for answer in measured.after.answers if answer.version != version]
    if not back:
        raise BenchmarkError(f"{version} did not recover")
    p99 = (before.percentile_ms(0.99), during.percentile_ms(0.99))
    late = during.longer_than(late_seconds)
    return Figures(
        rates=(before.rate, during.rate),
        rate_ratio=during.rate / before.rate,
        p99_ms=p99,
        p99_ratio=p99[1] / p99[0],
        hangs=measured.hangs,
        late=late,
        late_share=late / len(during.answers),
        waiting=_covered(during.answers, late_seconds) / (during.ended - during.began),
        past_deadline=during.longer_than(measured.deadline),
        defaults=sum(answer.version == "default" for answer in during.answers),
        back=back[0] - measured.ended,
        settled=max(others, default=measured.ended) - measured.ended,
    )


def render(measured: Measured, version: str, connections: int) -> str:
    """Return the table and the goals."""
    result = figures(measured, version)
    most_late = connections * result.hangs
    late = f"{result.late} late responses ({result.late_share:.3%})"
    lines = [
        f"{'':<28}{'healthy':>10}{'hangs':>10}{'ratio':>8}",
        f"{'requests/s':<28}{result.rates[0]:>10.0f}{result.rates[1]:>10.0f}{result.rate_ratio:>8.2f}",
        f"{'p99 ms':<28}{result.p99_ms[0]:>10.2f}{result.p99_ms[1]:>10.2f}{result.p99_ratio:>8.2f}",
        "",
        f"{result.hangs} hangs: {late}, in {result.waiting:.1%} of the time",
        f"past the deadline: {result.past_deadline}, answered by the default response: {result.defaults}",
        f"{version} answers {result.back:.2f} s after the last hang, everything after {result.settled:.2f} s",
        "",
        f"goal: it responds within {BACK_SECONDS:g} s: {_verdict(result.back <= BACK_SECONDS)}",
        f"goal: each connection waits once for a hang, at most {most_late}: {_verdict(result.late <= most_late)}",
    ]
    return "\n".join(lines)


def _covered(answers: Sequence[Answer], late_seconds: float) -> float:
    """Return the seconds in which at least one late request was in flight."""
    late = sorted(
        (answer.moment - answer.seconds, answer.moment) for answer in answers if answer.seconds > late_seconds
    )
    covered, until = 0.0, float("-inf")
    for began, ended in late:
        covered += max(0.0, ended - max(began, until))
        until = max(until, ended)
    return covered


def _verdict(met: bool) -> str:
    return "met" if met else "missed"
