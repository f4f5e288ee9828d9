"""Every dashboard is of Grafana's own types, and what is not is named with its place."""

from __future__ import annotations

import json
import re
from functools import reduce
from pathlib import Path
from typing import Any

import pytest

from tests.monitoring import grafana_types
from tests.monitoring.paths import GENERATED

FILES = sorted((GENERATED / "grafana" / "dashboards").glob("*.json"))
GONE = object()
STAT, GRAPH, TABLE = "panels[?stat]", "panels[?timeseries]", "panels[?table]"
# What is changed, to what, and what is said of it; `?stat` is the first panel of this kind.
MUTANTS: dict[str, tuple[str, Any, str]] = {
    "a misspelled key of the dashboard": ("timezon", "utc", "$.timezon: Dashboard has no such key"),
    "a text where a number is due": ("schemaVersion", "42", "$.schemaVersion: '42' is not a whole number"),
    "a list where an object is due": ("templating", [], "$.templating: [] is not an object"),
    "no start of the time range": ("time.from", GONE, "$.time.from: missing"),
    "an unknown kind of crosshair": ("graphTooltip", 7, "$.graphTooltip: 7 is none of 0, 1, 2"),
    "a panel that nobody draws": (f"{STAT}.type", "stats", ".type: 'stats' is none of 'annolist'"),
    "a misspelled key of a panel": (f"{STAT}.titel", "x", ".titel: Panel has no such key"),
    "a number where a text is due": (f"{STAT}.title", 3, ".title: 3 is not text"),
    "a text for a width": (f"{STAT}.gridPos.w", "8", ".gridPos.w: '8' is not a whole number"),
    "true for a width": (f"{STAT}.gridPos.w", True, ".gridPos.w: True is not a whole number"),
    "a colour mode that is none": (f"{STAT}.options.colorMode", "backgroundX", ".options.colorMode: 'backgroundX' is"),
    "an option of another panel": (f"{STAT}.options.showHeader", True, ".options.showHeader: Options has no such key"),
    "no reducer": (f"{STAT}.options.reduceOptions.calcs", GONE, ".options.reduceOptions.calcs: missing"),
    "a reducer that is no list": (f"{STAT}.options.reduceOptions.calcs", "last", ".calcs: 'last' is not a list"),
    "a legend that is nowhere": (f"{GRAPH}.options.legend.placement", "left", ".legend.placement: 'left' is none of"),
    "a line of text width": (
        f"{GRAPH}.fieldConfig.defaults.custom.fillOpacity",
        "8",
        ".custom.fillOpacity: '8' is not a number",
    ),
    "a misspelled look of a field": (
        f"{GRAPH}.fieldConfig.defaults.custom.fillOpacty",
        8,
        ".custom.fillOpacty: GraphFieldConfig has no such key",
    ),
    "a unit that is a number": (f"{GRAPH}.fieldConfig.defaults.unit", 5, ".defaults.unit: 5 is not text"),
    "a threshold without a colour": (
        f"{GRAPH}.fieldConfig.defaults.thresholds.steps[0].color",
        GONE,
        ".thresholds.steps[0].color: missing",
    ),
    "a datasource that is a name": (f"{GRAPH}.datasource", "prometheus", ".datasource: 'prometheus' is not an object"),
    "a datasource of a wrong type": (f"{GRAPH}.datasource.type", "promtheus", ".datasource.type: 'promtheus' is none"),
    "a datasource whose type is a number": (f"{GRAPH}.datasource.type", 1, ".datasource.type: 1 is not text"),
    "a misspelled key of a query": (f"{GRAPH}.targets[0].expression", "up", ".expression: Dataquery has no such key"),
    "a query that is a number": (f"{GRAPH}.targets[0].expr", 1, ".targets[0].expr: 1 is not text"),
    "a query without an expression": (f"{GRAPH}.targets[0].expr", GONE, ".targets[0].expr: missing"),
    "a format of a query that is none": (f"{TABLE}.targets[0].format", "tables", ".format: 'tables' is none of"),
    "a query of no data source": (f"{GRAPH}.targets[0].datasource", GONE, ".targets[0]: a query without a data source"),
    "a query of another language": (
        f"{GRAPH}.targets[0].datasource.type",
        "loki",
        ".targets[0].exemplar: Dataquery has no such key",
    ),
    "a transformation without its name": (f"{TABLE}.transformations[0].id", GONE, ".transformations[0].id: missing"),
    "a variable of a kind that is none": ("templating.list[1].type", "metric", ".list[1].type: 'metric' is none of"),
    "a misspelled key of a variable": ("templating.list[1].includeAl", True, ".includeAl: VariableModel has no such"),
    "an annotation without its name": ("annotations.list[0].name", GONE, "$.annotations.list[0].name: missing"),
    "a link of a kind that is none": ("links[0].type", "url", "$.links[0].type: 'url' is none of"),
    "a row that is neither open nor closed": ("panels[0].collapsed", "no", "$.panels[0].collapsed: 'no' is not true"),
}


def overview() -> Any:
    return json.loads((GENERATED / "grafana" / "dashboards" / "ai-workflow-overview.json").read_text())


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_dashboard_matches_grafana_schema(path: Path) -> None:
    assert grafana_types.faults(json.loads(path.read_text())) == []


@pytest.mark.parametrize("name", MUTANTS)
def test_schema_violation_is_reported_with_path(name: str) -> None:
    path, value, said = MUTANTS[name]
    board = overview()
    *steps, last = _steps(board, path)
    held = reduce(lambda inner, step: inner[step], steps, board)
    if value is GONE:
        del held[last]
    else:
        held[last] = value

    found = grafana_types.faults(board)

    assert any(said in one for one in found), found


@pytest.mark.parametrize(
    "board", [None, [], {}, {"panels": [None, 3, {}]}, {"panels": [{"type": "stat", "options": 1}]}]
)
def test_non_dashboard_json_is_reported(board: Any) -> None:
    assert grafana_types.faults(board)


def _steps(board: Any, path: str) -> list[Any]:
    """Return the keys and indices of a path."""
    found: list[Any] = []
    for name, index in re.findall(r"(\w+)(?:\[([^\]]+)\])?", path):
        found.append(name)
        if index.startswith("?"):
            found.append(next(at for at, panel in enumerate(board[name]) if panel["type"] == index[1:]))
        elif index:
            found.append(int(index))
    return found
