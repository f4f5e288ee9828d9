"""Where the events of a promise come from: the series that a good event counts in, and those of a bad one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ai_workflow.slo import promql
from ai_workflow.slo.alert import Counter, Series
from ai_workflow.slo.spec import Slo

# The version of all events whose metric names one.
VERSION = "found_model_version"
_BESIDE = "beside"  # the value of a label that tells good events from bad ones


@dataclass(frozen=True, slots=True)
class Source:
    """Where events come from: for each kind of event, the series that it counts in. `{}` is for the case."""

    good: tuple[str, ...]
    bad: tuple[str, ...]
    key: str
    bears: Mapping[str, str]

    def series(self, case: str, good: Counter, bad: Counter) -> Series:
        """Return the series of one case."""
        both = dict.fromkeys((*self.good, *self.bad))
        found: dict[str, Counter] = {}
        for name in both:
            parts = [line for names, line in ((self.good, good), (self.bad, bad)) if name in names]
            found[name.replace("<case>", case)] = parts[0] if len(parts) == 1 else _sum(*parts)
        return found


def source(slo: Slo) -> Source | None:
    """Return where the events of a promise come from; None where its queries are too involved to tell."""
    by = promql.grouping(slo.total_query)
    key = next((label for label in reversed(by) if label != "job"), "")
    if not key or slo.raw:
        return None
    bears = {label: "x" for label in by if label != key}
    same = {**bears, key: "<case>"}
    total, *_ = promql.selectors(slo.total_query)
    if slo.kind == "latency":
        name, bound = total.metric, promql.selectors(slo.error_query)[-1]
        bucket = _series(bound.metric, {**same, "le": {label: value for label, _, value in bound.matchers}["le"]})
        return Source((_series(name, same), bucket), (_series(name, same),), key, bears)
    if slo.kind == "accuracy":
        same["model_version"] = VERSION
        right = promql.selectors(slo.error_query)[-1].metric
        return Source((_series(total.metric, same), _series(right, same)), (_series(total.metric, same),), key, bears)
    return _of_events(slo, total, same, key, bears)


def _of_events(
    slo: Slo, total: promql.Selector, same: dict[str, str], key: str, bears: Mapping[str, str]
) -> Source | None:
    errors = promql.selectors(slo.error_query)
    if len(errors) != 1 or any(how in ("!=", "!~") for _, how, _ in (*errors[0].matchers, *total.matchers)):
        return None
    bad_labels = {label: value.strip("()").split("|")[0] for label, _, value in errors[0].matchers}
    all_labels = {label: value.strip("()").split("|")[0] for label, _, value in total.matchers}
    kept = {**same, **all_labels}
    if errors[0].metric == total.metric:
        beside = {label: _BESIDE for label in bad_labels if label not in all_labels}
        return Source((_series(total.metric, kept | beside),), (_series(total.metric, kept | bad_labels),), key, bears)
    in_total = _series(total.metric, kept)
    return Source((in_total,), (in_total, _series(errors[0].metric, {**same, **bad_labels})), key, bears)


def _series(name: str, own: Mapping[str, str]) -> str:
    inside = ",".join(f'{key}="{value}"' for key, value in own.items())
    return f"{name}{{{inside}}}"


def _sum(first: Counter, second: Counter) -> Counter:
    """Two counters with pieces of the same lengths, as one."""
    pairs = zip(first.pieces, second.pieces, strict=False)
    if len(first.pieces) == len(second.pieces):
        return Counter(tuple((one[0], one[1] + two[1]) for one, two in pairs))
    longer, shorter = sorted((first, second), key=lambda line: -len(line.pieces))
    return Counter(tuple((seconds, growth + shorter.pieces[0][1]) for seconds, growth in longer.pieces))
