"""The published rules of Grafana's dashboard-linter, which is a Go program: each here by its name, for all panels.

Its documentation says what a rule asks: https://github.com/grafana/dashboard-linter/blob/main/docs/index.md. Where it
looks at some kinds of panels only, or at what it happens to parse, these ask the same of every panel and query.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml
from grafana_foundation_sdk.models import units

from ai_workflow.slo import promql
from ai_workflow.telemetry import metrics
from tests.monitoring import prometheus_tools

Board = dict[str, Any]
# What a rule has against a dashboard: the title of the panel, empty for the dashboard itself, and the fault.
Fault = tuple[str, str]

UNITS = {value for name, value in vars(units).items() if name[0].isupper() and isinstance(value, str)}
_SOURCE = {"type": "prometheus", "uid": "${datasource}"}
_FUNCTIONS = {"label_names", "label_values", "metrics", "query_result"}
_RANGED = re.compile(r"\b(?:rate|irate|increase)\s*\([^()\[\]]*\[([^\]]*)\]")
_VARIABLE = re.compile(r"\$\{?[A-Za-z_]\w*\}?")
_COUNTERS = {metric.name for metric in metrics.TABLE if metric.kind == "counter"}
_COUNTER = re.compile(r"_(?:total|bucket|count|sum)$")


def panels(board: Board) -> Iterator[dict[str, Any]]:
    """Yield the panels that ask something: all but the headings of rows."""
    return (panel for panel in board["panels"] if panel["type"] != "row")


def targets(board: Board) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every query with the title of its panel."""
    return ((panel.get("title", ""), target) for panel in panels(board) for target in panel.get("targets", ()))


def marks(board: Board) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the queries of what is drawn over all graphs, each with its name; the linter forgets them."""
    return ((one["name"], one) for one in board["annotations"].get("list", ()))


def _template_datasource(board: Board) -> Iterator[Fault]:
    found = [one for one in board["templating"]["list"] if one["type"] == "datasource"]
    said = [(one["name"], one["label"], one["query"]) for one in found]
    if said != [("datasource", "Data source", "prometheus")]:
        yield "", f"has {said} for its one data source"


def _template(name: str) -> Callable[[Board], Iterator[Fault]]:
    def rule(board: Board) -> Iterator[Fault]:
        found = next((one for one in board["templating"]["list"] if one["name"] == name), None)
        if found is None:
            yield "", f"has no variable {name}"
            return
        wanted = {"label": name.title(), "type": "query", "multi": True, "allValue": ".+", "datasource": _SOURCE}
        for key, value in wanted.items():
            if found.get(key) != value:
                yield "", f"variable {name}: {key} is {found.get(key)!r}, not {value!r}"

    return rule


def _template_label_promql(board: Board) -> Iterator[Fault]:
    for one in _asking(board):
        found = re.fullmatch(r"(\w+)\((.+?)(?:, \w+)?\)", one["query"])
        if not found or found[1] not in _FUNCTIONS:
            yield "", f"variable {one['name']} asks {one['query']}"
        else:
            yield from _refused([("", found[2])])


def _template_on_time_change_reload(board: Board) -> Iterator[Fault]:
    yield from (("", f"variable {one['name']} is not read anew") for one in _asking(board) if one.get("refresh") != 2)


def _panel_datasource(board: Board) -> Iterator[Fault]:
    own = ((panel["title"], panel) for panel in panels(board))
    for title, held in (*own, *targets(board), *marks(board)):
        if held.get("datasource") != _SOURCE:
            yield title, f"asks {held.get('datasource')}"


def _panel_title_description(board: Board) -> Iterator[Fault]:
    for panel in panels(board):
        for key in ("title", "description"):
            if len(panel.get(key) or "") < 3:
                yield panel.get("title", ""), f"has no {key}"


def _panel_units(board: Board) -> Iterator[Fault]:
    for panel in panels(board):
        unit = panel["fieldConfig"]["defaults"].get("unit")
        if unit not in UNITS:
            yield panel["title"], f"has unit {unit!r}, which Grafana does not know"


def _panel_no_targets(board: Board) -> Iterator[Fault]:
    yield from ((panel["title"], "asks nothing") for panel in panels(board) if not panel.get("targets"))


def _target_logql(board: Board) -> Iterator[Fault]:
    """Both rules of LogQL: no query is any."""
    for title, target in targets(board):
        if target.get("datasource", {}).get("type") == "loki":
            yield title, f"asks Loki for {target.get('expr')}, and nothing here knows whether it may"


def _target_promql(board: Board) -> Iterator[Fault]:
    yield from _refused((title, one.get("expr", "")) for title, one in (*targets(board), *marks(board)))


def _target_rate_interval(board: Board) -> Iterator[Fault]:
    for title, target in targets(board):
        for found in _RANGED.finditer(target["expr"]):
            if found[1] != "$__rate_interval":
                yield title, f"{found[0]} is not over $__rate_interval"


def _target_matcher(label: str) -> Callable[[Board], Iterator[Fault]]:
    def rule(board: Board) -> Iterator[Fault]:
        for title, target in targets(board):
            for selector in promql.selectors(target["expr"]):
                if (label, "=~", f"${label}") not in selector.matchers:
                    yield title, f'{selector.metric} lacks {label}=~"${label}"'

    return rule


def _target_counter_agg(board: Board) -> Iterator[Fault]:
    for title, target in targets(board):
        for selector in promql.selectors(target["expr"]):
            is_counter = selector.metric in _COUNTERS or _COUNTER.search(selector.metric)
            if not is_counter or selector.metric.startswith("slo:"):
                continue
            rated = re.compile(rf"\b(?:rate|irate|increase)\s*\(\s*{re.escape(selector.text)}\s*\[")
            if len(rated.findall(target["expr"])) != target["expr"].count(selector.text):
                yield title, f"{selector.metric} is a counter, and shown as it is"


def _uneditable(board: Board) -> Iterator[Fault]:
    if board.get("editable", True):
        yield "", "can be edited, which the next build undoes"


def _asking(board: Board) -> Iterator[dict[str, Any]]:
    return (one for one in board["templating"]["list"] if one["type"] == "query")


def _refused(asked: Iterable[tuple[str, str]]) -> Iterator[Fault]:
    """Yield what Prometheus' own parser has against expressions, each with its title."""
    asked = list(asked)
    filled = [_VARIABLE.sub(lambda found: "5m" if "interval" in found[0] else ".+", expr) for _, expr in asked]
    rules = [{"record": f"x:{number}", "expr": expr} for number, expr in enumerate(filled)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rules.yaml"
        path.write_text(yaml.safe_dump({"groups": [{"name": "x", "rules": rules}]}))
        found = prometheus_tools.run("promtool", "check", "rules", path)
    if not found.returncode:
        return
    if len(asked) == 1:
        yield asked[0][0], f"{asked[0][1]}: {found.stderr.strip()}"
        return
    for one in asked:
        yield from _refused([one])


RULES: dict[str, Callable[[Board], Iterator[Fault]]] = {
    "template-datasource-rule": _template_datasource,
    "template-job-rule": _template("job"),
    "template-instance-rule": _template("instance"),
    "template-label-promql-rule": _template_label_promql,
    "template-on-time-change-reload-rule": _template_on_time_change_reload,
    "panel-datasource-rule": _panel_datasource,
    "panel-title-description-rule": _panel_title_description,
    "panel-units-rule": _panel_units,
    "panel-no-targets-rule": _panel_no_targets,
    "target-logql-rule": _target_logql,
    "target-logql-auto-rule": _target_logql,
    "target-promql-rule": _target_promql,
    "target-rate-interval-rule": _target_rate_interval,
    "target-job-rule": _target_matcher("job"),
    "target-instance-rule": _target_matcher("instance"),
    "target-counter-agg-rule": _target_counter_agg,
    "uneditable-dashboard": _uneditable,
}
