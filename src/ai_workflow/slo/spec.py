"""What `slo.yaml` says, typed: promises, burn-rate pairs, alerts, routes and places."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from ai_workflow.slo import durations

SEVERITIES = ("page", "ticket", "chat")
# Those with an error budget, and those that are told by their alerts alone.
BUDGETED = ("events", "latency", "accuracy")
KINDS = (*BUDGETED, "model", "throughput", "freshness", "drift", "disk")


@dataclass(frozen=True, slots=True)
class Window:
    """A burn-rate pair: budget (percent of the period's) spent within `long`, and still being spent over `short`."""

    name: str
    long: str
    short: str
    budget: Decimal
    severity: str
    hold: str
    least: Decimal

    def factor(self, period: str) -> Decimal:
        """Return how many times too fast the budget is spent when the alert fires."""
        return self.budget / 100 * durations.seconds(period) / durations.seconds(self.long)


@dataclass(frozen=True, slots=True)
class Entry:
    """An alert as the file sets it: the rest is in the table of alerts. `numbers` are as they are written."""

    name: str
    severity: str
    hold: str
    numbers: Mapping[str, str]
    line: int
    slo: str = ""


@dataclass(frozen=True, slots=True)
class Slo:
    """A promise. Queries hold `{{.window}}`; `raw` is an error ratio where there are no events to count.

    `threshold` is in the unit of the metric, for a latency only.

    `objective` is in percent, None for the kinds without a budget.
    """

    name: str
    kind: str
    description: str
    line: int
    objective: Decimal | None = None
    error_query: str = ""
    total_query: str = ""
    raw: str = ""
    threshold: str = ""
    windows: tuple[Window, ...] = ()
    absent: str = ""
    alert: str = "SLOErrorBudgetBurn"
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    lines: Mapping[str, int] = field(default_factory=dict)

    @property
    def budget(self) -> Decimal:
        """The share of events that may be bad."""
        assert self.objective is not None
        return 1 - self.objective / 100


@dataclass(frozen=True, slots=True)
class Route:
    """When alerts of one severity are sent, added to and said again."""

    wait: str
    interval: str
    repeat: str


@dataclass(frozen=True, slots=True)
class Spec:
    """The whole file; `file` is what messages call it."""

    file: str
    service: str
    period: str
    scrape: str
    evaluation: str
    keep: str
    attribution: Decimal
    slos: tuple[Slo, ...]
    entries: tuple[Entry, ...]
    routes: Mapping[str, Route]
    places: Mapping[str, str]
    targets: Mapping[str, tuple[str, ...]]
    channels: tuple[str, ...]

    def slo(self, name: str) -> Slo:
        """Return the promise of this name."""
        return next(slo for slo in self.slos if slo.name == name)

    def entry(self, name: str) -> Entry | None:
        """Return the alert of this name, if the file sets it."""
        return next((entry for entry in self.entries if entry.name == name), None)
