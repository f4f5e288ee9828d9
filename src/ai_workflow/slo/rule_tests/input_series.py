"""Input series for the good and bad events of an SLO."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ai_workflow.slo import promql
from ai_workflow.slo.alert import Counter, Series
from ai_workflow.slo.spec import Slo

# The model version of all series with this label.
VERSION = "found_model_version"
_GOOD_VALUE = "good"  # label value of good events


@dataclass(frozen=True, slots=True)
class EventSource:
    """The counters of good and bad events.

    Attributes:
        good: series that a good event increases, with `<case>` for the name of the case.
        bad: series that a bad event increases.
        key: label that separates the cases.
        labels: other labels of the alert.
    """

    good: tuple[str, ...]
    bad: tuple[str, ...]
    key: str
    labels: Mapping[str, str]

    def series(self, case: str, good: Counter, bad: Counter) -> Series:
        """Return the series of one case."""
        series: dict[str, Counter] = {}
        for name in dict.fromkeys((*self.good, *self.bad)):
            parts = [counter for names, counter in ((self.good, good), (self.bad, bad)) if name in names]
            series[name.replace("<case>", case)] = parts[0] if len(parts) == 1 else _sum(*parts)
        return series


def event_source(slo: Slo) -> EventSource | None:
    """Return the event source of an SLO; None if its queries are too complex."""
    by = promql.grouping(slo.total_query)
    key = next((label for label in reversed(by) if label != "job"), "")
    if not key or slo.raw:
        return None
    others = {label: "x" for label in by if label != key}
    shared = {**others, key: "<case>"}
    total, *_ = promql.selectors(slo.total_query)
    if slo.kind == "latency":
        name, bound = total.metric, promql.selectors(slo.error_query)[-1]
        bucket = _series(bound.metric, {**shared, "le": {label: value for label, _, value in bound.matchers}["le"]})
        return EventSource((_series(name, shared), bucket), (_series(name, shared),), key, others)
    if slo.kind == "accuracy":
        shared["model_version"] = VERSION
        correct = promql.selectors(slo.error_query)[-1].metric
        return EventSource(
            (_series(total.metric, shared), _series(correct, shared)), (_series(total.metric, shared),), key, others
        )
    return _of_events(slo, total, shared, key, others)


def _of_events(
    slo: Slo, total: promql.Selector, shared: dict[str, str], key: str, others: Mapping[str, str]
) -> EventSource | None:
    errors = promql.selectors(slo.error_query)
    if len(errors) != 1 or any(operator in ("!=", "!~") for _, operator, _ in (*errors[0].matchers, *total.matchers)):
        return None
    bad_labels = {label: value.strip("()").split("|")[0] for label, _, value in errors[0].matchers}
    all_labels = {label: value.strip("()").split("|")[0] for label, _, value in total.matchers}
    labels = {**shared, **all_labels}
    if errors[0].metric == total.metric:
        good_labels = {label: _GOOD_VALUE for label in bad_labels if label not in all_labels}
        return EventSource(
            (_series(total.metric, labels | good_labels),), (_series(total.metric, labels | bad_labels),), key, others
        )
    in_total = _series(total.metric, labels)
    return EventSource((in_total,), (in_total, _series(errors[0].metric, {**shared, **bad_labels})), key, others)


def _series(name: str, own: Mapping[str, str]) -> str:
    matchers = ",".join(f'{key}="{value}"' for key, value in own.items())
    return f"{name}{{{matchers}}}"


def _sum(first: Counter, second: Counter) -> Counter:
    """Return the sum of two counters with segments of equal lengths."""
    pairs = zip(first.segments, second.segments, strict=False)
    if len(first.segments) == len(second.segments):
        return Counter(tuple((seconds, growth + other) for (seconds, growth), (_, other) in pairs))
    longer, shorter = sorted((first, second), key=lambda counter: -len(counter.segments))
    return Counter(tuple((seconds, growth + shorter.segments[0][1]) for seconds, growth in longer.segments))
