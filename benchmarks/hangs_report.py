"""The benchmark of hangs as text: answers during and after hangs, beside those of the healthy service."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from benchmarks.http_load import percentile
from benchmarks.measure import BenchmarkError

# The goal of the project: seconds from the last hang to the first answer of `latest`.
BACK_SECONDS = 2.0
# An answer is late after this share of the deadline: `latest` may take 60 % of it before another version is asked.
LATE_SHARE = 0.5


class Answer(NamedTuple):
    """One answer: when it came (seconds of a steady clock), how long it took, and which version gave it."""

    moment: float
    seconds: float
    version: str


@dataclass(frozen=True, slots=True)
class Phase:
    """The answers of a part of the measurement, in the order in which they came."""

    began: float
    ended: float
    answers: tuple[Answer, ...]

    @property
    def rate(self) -> float:
        """Answers per second."""
        return len(self.answers) / (self.ended - self.began)

    def percentile_ms(self, share: float) -> float:
        """Return the milliseconds that this share of the answers did not exceed."""
        return percentile(sorted(1000 * answer.seconds for answer in self.answers), share)

    def longer_than(self, seconds: float) -> int:
        """Return how many answers took longer."""
        return sum(answer.seconds > seconds for answer in self.answers)


@dataclass(frozen=True, slots=True)
class Measured:
    """What was measured.

    Args:
        before: without a fault.
        during: while each process of the version was stopped as soon as it was there.
        after: from the last stop on, until the version answered everything again.
        ended: when no process was stopped any more.
        hangs: how many processes were stopped.
        deadline: of a request, in seconds.
    """

    before: Phase
    during: Phase
    after: Phase
    ended: float
    hangs: int
    deadline: float


@dataclass(frozen=True, slots=True)
class Figures:
    """What came of it; ratios are of the phase with hangs over that without a fault.

    `late` counts answers that took more than half the deadline, `waiting` is the share of time in which a request
    waited so long, `back` the seconds from the last hang to the first answer of the version, `settled` those to the
    last answer of another version.
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
    """Return whether a version gave all answers of the last seconds, and more than none."""
    last = [answer.version for answer in after.answers if answer.moment >= after.ended - seconds]
    return bool(last) and set(last) == {version}


def figures(measured: Measured, version: str) -> Figures:
    """Return the figures.

    Raises:
        BenchmarkError: nothing was stopped, or the version never answered again.
    """
    before, during = measured.before, measured.during
    if not measured.hangs or not before.answers or not during.answers:
        raise BenchmarkError(f"no process of {version} was stopped, or nothing was answered: there is no figure")
    late_seconds = LATE_SHARE * measured.deadline
    back = [answer.moment for answer in measured.after.answers if answer.version == version]
    others = [answer.moment for answer in measured.after.answers if answer.version != version]
    if not back:
        raise BenchmarkError(f"{version} never answered again")
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
    found = figures(measured, version)
    most_late = connections * found.hangs
    lines = [
        f"{'':<28}{'healthy':>10}{'hangs':>10}{'ratio':>8}",
        f"{'requests/s':<28}{found.rates[0]:>10.0f}{found.rates[1]:>10.0f}{found.rate_ratio:>8.2f}",
        f"{'p99 ms':<28}{found.p99_ms[0]:>10.2f}{found.p99_ms[1]:>10.2f}{found.p99_ratio:>8.2f}",
        "",
        f"{found.hangs} hangs: {found.late} late answers ({found.late_share:.3%}), in {found.waiting:.1%} of the time",
        f"past the deadline: {found.past_deadline}, answered by the default response: {found.defaults}",
        f"{version} answers {found.back:.2f} s after the last hang, everything after {found.settled:.2f} s",
        "",
        f"goal: it answers within {BACK_SECONDS:g} s: {_verdict(found.back <= BACK_SECONDS)}",
        f"goal: each connection waits once for a hang, at most {most_late}: {_verdict(found.late <= most_late)}",
    ]
    return "\n".join(lines)


def _covered(answers: Sequence[Answer], late_seconds: float) -> float:
    """Return the seconds in which at least one late request was under way."""
    late = sorted((one.moment - one.seconds, one.moment) for one in answers if one.seconds > late_seconds)
    covered, until = 0.0, float("-inf")
    for began, ended in late:
        covered += max(0.0, ended - max(began, until))
        until = max(until, ended)
    return covered


def _verdict(met: bool) -> str:
    return "met" if met else "missed"
