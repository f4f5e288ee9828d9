"""Dashboards that Grafana takes and a person can read: the traps beside types and dashboard-linter's rules."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
import yaml

from ai_workflow.slo import validation
from ai_workflow.telemetry.dashboard_urls import UIDS
from tests.monitoring import prometheus_tools
from tests.monitoring.paths import GENERATED

FILES = sorted((GENERATED / "grafana" / "dashboards").glob("*.json"))


@pytest.fixture(params=FILES, ids=lambda path: path.stem)
def board(request: pytest.FixtureRequest) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(request.param.read_text())
    return found


def test_every_dashboard_link_has_dashboard() -> None:
    assert sorted(path.stem for path in FILES) == sorted(UIDS.values())


def test_dashboard_has_stable_uid_and_description(board: dict[str, Any]) -> None:
    assert 0 < len(board["uid"]) <= 40
    assert not {"version", "iteration", "id"} & board.keys()
    assert board["title"]
    assert board["description"]


def test_panel_ids_are_unique(board: dict[str, Any]) -> None:
    ids = [panel.get("id") for panel in board["panels"]]

    assert all(ids)
    assert len(ids) == len(set(ids))


def test_panels_fill_the_grid_and_do_not_overlap(board: dict[str, Any]) -> None:
    taken: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        grid = panel["gridPos"]
        assert grid["x"] + grid["w"] <= 24, panel["title"]
        cells = {(grid["x"] + x, grid["y"] + y) for x in range(grid["w"]) for y in range(grid["h"])}
        assert not taken & cells, panel["title"]
        taken |= cells
    for line in {y for _, y in taken}:
        assert {x for x, y in taken if y == line} == set(range(24)), f"a hole at {line}"


def test_panel_queries_have_unique_ref_ids_and_mode(board: dict[str, Any]) -> None:
    for panel in _panels(board):
        names = [target["refId"] for target in panel["targets"]]
        assert names == [chr(ord("A") + index) for index in range(len(names))]
        assert all(target.get("instant") or target.get("range") for target in panel["targets"]), panel["title"]


def test_used_dashboard_variables_are_declared(board: dict[str, Any]) -> None:
    declared = {variable["name"] for variable in board["templating"]["list"]}
    asked = [variable["query"] for variable in board["templating"]["list"]]
    for expr in (*_exprs(board), *asked):
        used = set(re.findall(r"\$\{?(\w+)", expr)) - {"__rate_interval"}
        assert used <= declared, expr


def test_dashboard_variables_query_exported_metrics(board: dict[str, Any]) -> None:
    for variable in board["templating"]["list"][1:]:
        metric, label = re.fullmatch(r"label_values\((\S+), (\w+)\)", variable["query"]).groups()  # type: ignore[union-attr]
        assert label == variable["name"]
        asked = f'{metric[:-1]},{label}="x"}}' if metric.endswith("}") else f'{metric}{{{label}="x"}}'
        assert list(validation.unknown(asked)) == []
        assert set(re.findall(r"\bslo:[\w:]+", metric)) <= _records()


def test_dashboard_queries_use_exported_metrics_and_labels(board: dict[str, Any]) -> None:
    for expr in _exprs(board):
        assert list(validation.unknown(expr)) == []
        assert set(re.findall(r"\bslo:[\w:]+", expr)) <= _records()


def test_legend_labels_are_kept_by_query(board: dict[str, Any]) -> None:
    for panel in _panels(board):
        for target in panel["targets"]:
            wanted = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
            kept = re.match(r"(?:time\(\) - )?(?:max|min|sum) by \(([^)]*)\)", target["expr"])
            if kept:
                assert wanted <= set(kept[1].split(", ")), target["expr"]


def test_grafana_provisioning_has_data_source_and_dashboards() -> None:
    folder = GENERATED / "grafana" / "provisioning"
    source = yaml.safe_load((folder / "datasources" / "prometheus.yaml").read_text())["datasources"][0]
    provider = yaml.safe_load((folder / "dashboards" / "ai-workflow.yaml").read_text())["providers"][0]

    assert (source["uid"], source["type"]) == ("prometheus", "prometheus")
    assert provider["allowUiUpdates"] is False


@cache
def _records() -> set[str]:
    return {str(rule["record"]) for held in prometheus_tools.groups().values() for rule in held if "record" in rule}


def _panels(board: dict[str, Any]) -> Iterator[dict[str, Any]]:
    return (panel for panel in board["panels"] if panel["type"] != "row")


def _exprs(board: dict[str, Any]) -> Iterator[str]:
    for panel in _panels(board):
        for target in panel["targets"]:
            yield target["expr"]
    for event in board.get("annotations", {}).get("list", []):
        if event.get("expr"):
            yield event["expr"]
