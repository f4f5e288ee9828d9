"""Queries of an SLO for bad events and all events, with a placeholder for the window."""

from __future__ import annotations

import re
from typing import TypedDict

from ai_workflow.slo.fields import Fields
from ai_workflow.telemetry import metrics

_WINDOW = re.compile(r"\{\{\s*\.window\s*\}\}")
_WINDOW_PLACEHOLDER = "{{.window}}"


class Queries(TypedDict, total=False):
    """Queries of an SLO: either `raw`, or the others."""

    error_query: str
    total_query: str
    raw: str
    threshold: str


def build(kind: str, fields: Fields) -> Queries:
    """Return the queries of an SLO with an error budget; problems are recorded in `fields`."""
    if kind == "latency":
        return _latency(fields)
    if kind == "accuracy":
        return _accuracy()
    return _events(fields)


def with_window(query: str, window: str) -> str:
    """Return the query with a window such as `5m`."""
    return _WINDOW.sub(window, query).strip()


def bucket(threshold: str) -> str:
    """Return the upper bound of a bucket in the format of the label `le`, such as `0.2` or `1.0`."""
    return repr(float(threshold))


def metric(name: str) -> metrics.Metric | None:
    """Return a metric of the metric table, or None."""
    return next((metric for metric in metrics.TABLE if metric.name == name), None)


def _events(fields: Fields) -> Queries:
    sli = fields.inner("sli")
    if "raw" in sli:
        raw = sli.inner("raw")
        queries = Queries(raw=raw.text("error_ratio_query"))
        raw.close()
    else:
        events = sli.inner("events")
        queries = Queries(error_query=events.text("error_query"), total_query=events.text("total_query"))
        events.close()
    sli.close()
    for key, query in queries.items():
        if query and not _WINDOW.search(str(query)):
            fields.add_problem("sli", f"{key} has no window. Write [{_WINDOW_PLACEHOLDER}] as its range")
    return queries


def _latency(fields: Fields) -> Queries:
    name, threshold = fields.text("metric"), fields.number("threshold")
    by = ", ".join(fields.texts("by", ("job",)))
    known = metric(name)
    if known and not known.buckets:
        fields.add_problem("metric", f"{name} is a {known.kind}; a latency SLO needs a histogram")
    elif known and float(threshold) not in known.buckets:
        bounds = ", ".join(f"{bound:g}" for bound in known.buckets)
        fields.add_problem("threshold", f"{threshold} is not a bucket of {name}. Choose one of {bounds}")
    total = f"sum by ({by}) (increase({name}_count[{_WINDOW_PLACEHOLDER}]))"
    fast = f'sum by ({by}) (increase({name}_bucket{{le="{bucket(str(threshold))}"}}[{_WINDOW_PLACEHOLDER}]))'
    return Queries(error_query=f"({total} - {fast})", total_query=total, threshold=str(threshold))


def _accuracy() -> Queries:
    total, correct = (
        f"sum by (pipeline) (increase(model_{name}_predictions_total[{_WINDOW_PLACEHOLDER}]))"
        for name in ("labeled", "correct")
    )
    return Queries(error_query=f"({total} - {correct})", total_query=total)
