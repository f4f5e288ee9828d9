"""Alert definitions: template, parameters from slo.yaml, and the series of its rule test."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from ai_workflow.slo import durations
from ai_workflow.slo.label_lookup import Lookup
from ai_workflow.slo.spec import AlertEntry, Slo

_PLACEHOLDER = re.compile(r"<([a-z]+)(\.seconds)?>")
# Factors for a value just above and just below a limit.
OVER, UNDER = 1.1, 0.9
# Seconds; longer than any rule test.
FOREVER = 10**9
# Request rate before the errors begin, relative to the rate after it. A window that is too long includes it.
BASELINE_FACTOR = 2


@dataclass(frozen=True, slots=True)
class AlertParameters:
    """Parameters of an alert in `slo.yaml`.

    A template refers to them as `<name>`, or `<name.seconds>` for a duration.

    Attributes:
        texts: parameters as written.
        for_seconds: `for` of the alert.
        keep_firing_seconds: `keep_firing_for` of the alert.
    """

    texts: Mapping[str, str]
    for_seconds: int
    keep_firing_seconds: int = 0

    def fill(self, template: str) -> str:
        """Return the template with all parameters filled in."""
        return _PLACEHOLDER.sub(lambda match: self._text(match[1], bool(match[2])), template)

    def __getitem__(self, name: str) -> float:
        return float(self.texts[name])

    def seconds(self, name: str) -> int:
        """Return a duration parameter in seconds."""
        return durations.seconds(self.texts[name])

    def _text(self, name: str, in_seconds: bool) -> str:
        return str(self.seconds(name)) if in_seconds else self.texts[name]


@dataclass(frozen=True, slots=True)
class Gauge:
    """A gauge as segments `(seconds, value)`; the last segment continues."""

    segments: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class Counter:
    """A counter as segments `(seconds, growth per second)`; the last segment continues."""

    segments: tuple[tuple[float, float], ...]
    start: float = 0


Series = Mapping[str, Gauge | Counter]


@dataclass(frozen=True, slots=True)
class RuleTest:
    """Input series of several cases, which differ by a label, and the cases that must fire.

    Attributes:
        step: seconds between samples.
        cases: series by the name of the case.
        labels: returns the labels of the alert of a case, without the labels of the rule.
        checks: `(seconds, {case: value})`: exactly these cases fire; None means that the value is not checked.
        evaluation_seconds: seconds between evaluations, a multiple of `step`; 0 means `step`.
    """

    step: int
    cases: Mapping[str, Series]
    labels: Callable[[str], Mapping[str, str]]
    checks: tuple[tuple[float, Mapping[str, float | None]], ...]
    evaluation_seconds: int = 0

    @property
    def every(self) -> int:
        """Seconds between evaluations."""
        return self.evaluation_seconds or self.step


@dataclass(frozen=True, slots=True)
class Alert:
    """Template of an alert, without parameters, severity and `for`.

    Attributes:
        kind: the kind of SLO that may set it; empty for an alert without an SLO.
        lookups: labels that its annotations read from other series (`label_lookup.templates`).
        rule_test: returns the rule test for given parameters.
    """

    name: str
    expr: str
    summary: str
    description: str
    unit: str
    objective: str
    dashboard: str
    rule_test: Callable[[AlertParameters], RuleTest]
    kind: str = ""
    group: str = "service"
    lookups: Mapping[str, Lookup] = field(default_factory=dict)

    @property
    def required_parameters(self) -> set[str]:
        """Names of the parameters that `slo.yaml` must set."""
        text = f"{self.expr} {self.summary} {self.description} {self.objective}"
        return {match[1] for match in _PLACEHOLDER.finditer(text)} - {"objective", "attribution", "scrape"}


def parameters(entry: AlertEntry, slo: Slo | None, keep_firing: str = "0s") -> AlertParameters:
    """Return the parameters of an alert, with the objective of its SLO as a ratio."""
    texts = dict(entry.parameters)
    if slo and slo.objective is not None:
        texts["objective"] = durations.shortest(slo.objective / 100)
    return AlertParameters(texts, durations.seconds(entry.for_), durations.seconds(keep_firing))


def boundary_cases(limits: Mapping[str, float], below: tuple[str, ...] = ()) -> dict[str, dict[str, float]]:
    """Return test cases around limits.

    In the case `fires` all values are just beyond their limits. Each other case has one value within its limit.
    Values named in `below` fire if they are small.
    """
    beyond = {name: limit * (UNDER if name in below else OVER) for name, limit in limits.items()}
    within = {name: limit * (OVER if name in below else UNDER) for name, limit in limits.items()}
    return {"fires": beyond} | {f"no_{name}": beyond | {name: within[name]} for name in limits}


def fires_after(
    seconds: float, parameters: AlertParameters, step: int, value: float | None, until: float = 0
) -> tuple[tuple[float, Mapping[str, float | None]], ...]:
    """Return checks around the time when the case `fires` fires: after `seconds` and `for`."""
    at = seconds + parameters.for_seconds
    late = max(until, at + 2 * step)
    return ((at - step, {}), (at + 2 * step, {"fires": None}), (late + 2 * step, {"fires": value}))


def seconds_until_exceeded(window: int) -> float:
    """Return the seconds of errors just above a limit until the ratio of the window exceeds it."""
    return window * BASELINE_FACTOR / (OVER - 1 + BASELINE_FACTOR)


def next_evaluation(at: float, every: int) -> int:
    """Return the time of the first evaluation at or after `at`, in seconds."""
    return math.ceil(at / every) * every


def overdue(begins: int, seconds: float, parameters: AlertParameters, step: int) -> tuple[int, int, int]:
    """Return the time to stop a timestamp, the time of its alert, and the evaluation interval.

    The timestamp becomes overdue just before an evaluation.

    Args:
        begins: the earliest time to stop.
        seconds: the age at which it is overdue.
        parameters: its `for` should have about five evaluations, so that a change by a quarter is detected.
        step: seconds between samples; an evaluation interval has two.
    """
    every = 2 * step
    overdue_at = next_evaluation(begins + seconds + every, every)
    stops = int((overdue_at - step - seconds) // step) * step
    return stops, overdue_at + next_evaluation(parameters.for_seconds, every), every


def case_labels(key: str, **more: str) -> Callable[[str], Mapping[str, str]]:
    """Return a function from the name of a case to its labels, with the name as the value of `key`."""
    return lambda case: {key: case, **more}


def constant(value: float) -> Gauge:
    """Return a gauge that never changes."""
    return Gauge(((FOREVER, value),))


def step_change(at: float, before: float, after: float) -> Gauge:
    """Return a gauge that changes once."""
    return Gauge(((at, before), (FOREVER, after)))


def rate_change(at: float, before: float, after: float) -> Counter:
    """Return a counter whose growth per second changes once."""
    return Counter(((at, before), (FOREVER, after)))


def stopped_clock(at: float) -> Counter:
    """Return a timestamp that follows the current time until `at`."""
    return rate_change(at, 1, 0)
