"""An alert of the table, the numbers it is filled in with, and the series it is tried on."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ai_workflow.slo import durations
from ai_workflow.slo.spec import Entry, Slo
from ai_workflow.slo.trials_format import Find

_PLACE = re.compile(r"<([a-z]+)(\.seconds)?>")
OVER, UNDER = 1.1, 0.9  # just beyond a limit, and just short of it
END = 10**9
BEFORE = 2  # as many requests before errors begin: a longer window would contain them


@dataclass(frozen=True, slots=True)
class Numbers:
    """What `slo.yaml` says of one alert; `<name>` in a text stands for a number, `<name.seconds>` for a duration.

    `hold` is its `for`, `keep` its `keep_firing_for`, where it has one, in seconds.
    """

    texts: Mapping[str, str]
    hold: int
    keep: int = 0

    def fill(self, text: str) -> str:
        """Return the text with its numbers."""
        return _PLACE.sub(lambda found: self._shown(found[1], bool(found[2])), text)

    def __getitem__(self, name: str) -> float:
        return float(self.texts[name])

    def seconds(self, name: str) -> int:
        """Return a duration in seconds."""
        return durations.seconds(self.texts[name])

    def _shown(self, name: str, in_seconds: bool) -> str:
        return str(self.seconds(name)) if in_seconds else self.texts[name]


@dataclass(frozen=True, slots=True)
class Gauge:
    """A series as pieces `(seconds, value)`; the last one lasts."""

    pieces: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class Counter:
    """A series as pieces `(seconds, growth per second)`; the last one lasts."""

    pieces: tuple[tuple[float, float], ...]
    start: float = 0


Series = Mapping[str, Gauge | Counter]


@dataclass(frozen=True, slots=True)
class Trial:
    """Series that hold several cases apart by a label, and when which of them must fire.

    Attributes:
        step: seconds between samples.
        cases: series by the name of the case.
        labels: what the alert of a case bears besides its own labels.
        checks: `(seconds, {case: value})`: exactly these fire; None stands for a value that is not looked at.
        evaluated: seconds between evaluations, a multiple of `step`; 0 stands for `step`.
    """

    step: int
    cases: Mapping[str, Series]
    labels: Callable[[str], Mapping[str, str]]
    checks: tuple[tuple[float, Mapping[str, float | None]], ...]
    evaluated: int = 0

    @property
    def every(self) -> int:
        """Seconds between evaluations."""
        return self.evaluated or self.step


@dataclass(frozen=True, slots=True)
class Alert:
    """An alert, but for its numbers, severity and `for`.

    `kind` is the kind of promise that may set it; `finds` is what it names besides its labels (`finding.templates`).
    """

    name: str
    expr: str
    summary: str
    description: str
    unit: str
    objective: str
    dashboard: str
    trial: Callable[[Numbers], Trial]
    kind: str = ""
    group: str = "service"
    finds: Mapping[str, Find] = field(default_factory=dict)

    @property
    def wanted(self) -> set[str]:
        """The numbers that `slo.yaml` has to give."""
        text = f"{self.expr} {self.summary} {self.description} {self.objective}"
        return {found[1] for found in _PLACE.finditer(text)} - {"objective", "attribution", "scrape"}


def numbers(entry: Entry, slo: Slo | None, keep: str = "0s") -> Numbers:
    """Return the numbers of an entry, with the objective of its promise as a share."""
    own = dict(entry.numbers)
    if slo and slo.objective is not None:
        own["objective"] = durations.shortest(slo.objective / 100)
    return Numbers(own, durations.seconds(entry.hold), durations.seconds(keep))


def near(limits: Mapping[str, float], below: tuple[str, ...] = ()) -> dict[str, dict[str, float]]:
    """Return the case `fires`, with all numbers just beyond their limits, and one case for each just short of its own.

    Those named in `below` fire when they are small.
    """
    beyond = {name: limit * (UNDER if name in below else OVER) for name, limit in limits.items()}
    short = {name: limit * (OVER if name in below else UNDER) for name, limit in limits.items()}
    return {"fires": beyond} | {f"no_{name}": beyond | {name: short[name]} for name in limits}


def fires_after(
    seconds: float, numbers: Numbers, step: int, value: float | None, until: float = 0
) -> tuple[tuple[float, Mapping[str, float | None]], ...]:
    """Return checks around the moment at which `fires` fires: `seconds` until its condition holds, then `for`."""
    at = seconds + numbers.hold
    late = max(until, at + 2 * step)
    return ((at - step, {}), (at + 2 * step, {"fires": None}), (late + 2 * step, {"fires": value}))


def crossing(window: int) -> float:
    """Return after how many seconds of errors just beyond a limit they are beyond it over the whole window."""
    return window * BEFORE / (OVER - 1 + BEFORE)


def evaluated(at: float, every: int) -> int:
    """Return when the first evaluation at `at` or later is, in seconds."""
    return math.ceil(at / every) * every


def overdue(begins: int, seconds: float, numbers: Numbers, step: int) -> tuple[int, int, int]:
    """Return when what is to be late has to stop, when it is told, and the seconds between evaluations.

    It is late just before an evaluation, the first to see it.

    Args:
        begins: when it may stop at the earliest.
        seconds: what is late.
        numbers: `for` tells when it is told: five evaluations are seen in it, so that a quarter more or less is, too.
        step: seconds between samples, two for an evaluation.
    """
    every = 2 * step
    late = evaluated(begins + seconds + every, every)
    stops = int((late - step - seconds) // step) * step
    return stops, late + evaluated(numbers.hold, every), every


def labels(key: str, **more: str) -> Callable[[str], Mapping[str, str]]:
    """Return what makes the labels of a case whose name is the value of `key`."""
    return lambda case: {key: case, **more}


def fixed(value: float) -> Gauge:
    """Return a gauge that never changes."""
    return Gauge(((END, value),))


def changed(at: float, before: float, after: float) -> Gauge:
    """Return a gauge that changes once."""
    return Gauge(((at, before), (END, after)))


def grown(at: float, before: float, after: float) -> Counter:
    """Return a counter whose growth per second changes once."""
    return Counter(((at, before), (END, after)))


def stopped(at: float) -> Counter:
    """Return a timestamp that is always now, and stands still from `at` on."""
    return grown(at, 1, 0)


def same(value: Any) -> Callable[[str], Any]:
    """Return what gives the same for every case."""
    return lambda _: value
