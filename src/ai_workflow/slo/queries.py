"""The queries behind a promise: bad events and all events, over a window that is filled in later."""

from __future__ import annotations

import re
from typing import TypedDict

from ai_workflow.slo.fields import Fields
from ai_workflow.telemetry import metrics

_WINDOW = re.compile(r"\{\{\s*\.window\s*\}\}")
_WRITTEN = "{{.window}}"


class Queries(TypedDict, total=False):
    """Those that a kind has; `raw` stands alone."""

    error_query: str
    total_query: str
    raw: str
    threshold: str


def of(kind: str, fields: Fields) -> Queries:
    """Return the queries of a promise with a budget; what is wrong with its keys is noted there."""
    if kind == "latency":
        return _latency(fields)
    if kind == "accuracy":
        return _accuracy()
    return _events(fields)


def over(query: str, window: str) -> str:
    """Return the query over this window, such as `5m`."""
    return _WINDOW.sub(window, query).strip()


def bucket(threshold: str) -> str:
    """Return a bucket's upper bound as the label `le` has it: `0.2`, `1.0`."""
    return repr(float(threshold))


def metric(name: str) -> metrics.Metric | None:
    """Return a metric of the table."""
    return next((metric for metric in metrics.TABLE if metric.name == name), None)


def _events(fields: Fields) -> Queries:
    sli = fields.inner("sli")
    if "raw" in sli:
        raw = sli.inner("raw")
        found = Queries(raw=raw.text("error_ratio_query"))
        raw.close()
    else:
        events = sli.inner("events")
        found = Queries(error_query=events.text("error_query"), total_query=events.text("total_query"))
        events.close()
    sli.close()
    for key, query in found.items():
        if query and not _WINDOW.search(str(query)):
            fields.refuse("sli", f"{key} lacks the window: write [{_WRITTEN}] where its range is")
    return found


def _latency(fields: Fields) -> Queries:
    name, threshold = fields.text("metric"), fields.number("threshold")
    by = ", ".join(fields.texts("by", ("job",)))
    known = metric(name)
    if known and not known.buckets:
        fields.refuse("metric", f"{name} is a {known.kind}; a latency promise needs a histogram")
    elif known and float(threshold) not in known.buckets:
        near = ", ".join(f"{bound:g}" for bound in known.buckets)
        fields.refuse(
            "threshold", f"{threshold} is no bucket of {name}: nothing counts what is faster; take one of {near}"
        )
    total = f"sum by ({by}) (increase({name}_count[{_WRITTEN}]))"
    fast = f'sum by ({by}) (increase({name}_bucket{{le="{bucket(str(threshold))}"}}[{_WRITTEN}]))'
    return Queries(error_query=f"({total} - {fast})", total_query=total, threshold=str(threshold))


def _accuracy() -> Queries:
    total, right = (
        f"sum by (pipeline) (increase(model_{which}_predictions_total[{_WRITTEN}]))" for which in ("labeled", "correct")
    )
    return Queries(error_query=f"({total} - {right})", total_query=total)
