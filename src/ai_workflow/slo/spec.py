"""Content of an SLO file: SLOs, burn-rate windows, alerts, routes and URLs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from ai_workflow.slo import durations

SEVERITIES = ("page", "ticket", "chat")
# SLO kinds with an error budget. The other kinds have alerts only.
BUDGETED = ("events", "latency", "accuracy")
KINDS = (*BUDGETED, "model", "throughput", "freshness", "drift", "disk")


@dataclass(frozen=True, slots=True)
class Window:
    """A pair of burn-rate windows.

    Attributes:
        long: window in which `budget` percent of the error budget is spent.
        short: window over which the budget is still being spent.
        for_: `for` of the alert.
        min_events: minimum number of bad events.
    """

    name: str
    long: str
    short: str
    budget: Decimal
    severity: str
    for_: str
    min_events: Decimal

    def factor(self, period: str) -> Decimal:
        """Return the burn rate at which the alert fires; 1 spends the budget exactly within the period."""
        return self.budget / 100 * durations.seconds(period) / durations.seconds(self.long)


@dataclass(frozen=True, slots=True)
class AlertEntry:
    """Settings of an alert in the SLO file.

    `parameters` are as written. Its template is in the alert table.
    """

    name: str
    severity: str
    for_: str
    parameters: Mapping[str, str]
    line: int
    slo: str = ""


@dataclass(frozen=True, slots=True)
class Slo:
    """A service level objective.

    Attributes:
        objective: percent of good events; None for kinds without an error budget.
        error_query: query for bad events with the placeholder `{{.window}}`.
        total_query: query for all events with the placeholder.
        raw: query for an error ratio, instead of the two queries.
        threshold: latency threshold in the unit of the metric.
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
        """The allowed ratio of bad events."""
        assert self.objective is not None
        return 1 - self.objective / 100


@dataclass(frozen=True, slots=True)
class Route:
    """Delays of a severity: first notification, updates and reminders."""

    wait: str
    interval: str
    repeat: str


@dataclass(frozen=True, slots=True)
class Spec:
    """Content of an SLO file; `file` is its name in error messages."""

    file: str
    service: str
    period: str
    scrape: str
    evaluation: str
    keep_firing: str
    attribution: Decimal
    slos: tuple[Slo, ...]
    entries: tuple[AlertEntry, ...]
    routes: Mapping[str, Route]
    places: Mapping[str, str]
    targets: Mapping[str, tuple[str, ...]]
    channels: tuple[str, ...]

    def slo(self, name: str) -> Slo:
        """Return the SLO of this name."""
        return next(slo for slo in self.slos if slo.name == name)

    def entry(self, name: str) -> AlertEntry | None:
        """Return the settings of an alert, or None if the file does not set it."""
        return next((entry for entry in self.entries if entry.name == name), None)
