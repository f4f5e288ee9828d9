"""The dashboards follow the published rules of Grafana's dashboard-linter; where one does not, it says why."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import pytest

from tests.monitoring import dashboard_linter
from tests.monitoring.paths import GENERATED

pytestmark = pytest.mark.integration

FOLDER = GENERATED / "grafana" / "dashboards"
BOARDS = {
    path.stem.removeprefix("ai-workflow-"): json.loads(path.read_text()) for path in sorted(FOLDER.glob("*.json"))
}
FIRST = 1  # of the panels, after the heading of their row


@dataclass(frozen=True, slots=True)
class Exclusion:
    """What is left out of a rule, by dashboard and what the fault says, and why."""

    rules: str
    boards: str
    faults: str
    reason: str

    def covers(self, rule: str, board: str, fault: dashboard_linter.Fault) -> bool:
        """Say whether a fault is one of these."""
        pairs = ((self.rules, rule), (self.boards, board), (self.faults, fault[1]))
        return all(re.fullmatch(pattern, text) for pattern, text in pairs)


_TEMPLATES, _TARGETS = "template-(job|instance)-rule", "target-(job|instance)-rule"
EXCLUDED = (
    Exclusion(
        _TARGETS, "overview|slo", "(slo:|ALERTS).*",
        "What is recorded and what fires is about a promise: of all instances, and some are about pipelines, which no "
        "job has.",
    ),
    Exclusion(
        _TARGETS, "overview", "model_accuracy_current.*",
        "Accuracy is the exporter's, of a pipeline; the job that is chosen is the service's.",
    ),
    Exclusion(
        _TEMPLATES, "slo", ".*",
        "One promise is chosen there, and the versions that it is about.",
    ),
    Exclusion(
        f"{_TEMPLATES}|{_TARGETS}", "pipelines", ".*",
        "There is one exporter for a store and one relay; what differs is the pipeline, and that can be chosen.",
    ),
    Exclusion(
        f"{_TEMPLATES}|{_TARGETS}", "quality", ".*",
        "A version of a pipeline is chosen; who exports it or serves it makes no other version of it.",
    ),
)  # fmt: skip

Change = Callable[[dict[str, Any]], object]
# What makes the overview break each rule.
BREAKING: dict[str, Change] = {
    "template-datasource-rule": lambda board: _variable(board, "datasource").update(name="source"),
    "template-job-rule": lambda board: _variable(board, "job").update(allValue=".*"),
    "template-instance-rule": lambda board: _variable(board, "instance").update(multi=False),
    "template-label-promql-rule": lambda board: _variable(board, "job").update(query="label_values(up{, job)"),
    "template-on-time-change-reload-rule": lambda board: _variable(board, "job").update(refresh=1),
    "panel-datasource-rule": lambda board: _panel(board).update(datasource={"type": "prometheus", "uid": "mine"}),
    "panel-title-description-rule": lambda board: _panel(board).update(description=""),
    "panel-units-rule": lambda board: _panel(board)["fieldConfig"]["defaults"].update(unit="seconds"),
    "panel-no-targets-rule": lambda board: _panel(board).update(targets=[]),
    "target-logql-rule": lambda board: _target(board).update(datasource={"type": "loki", "uid": "${datasource}"}),
    "target-logql-auto-rule": lambda board: _target(board).update(datasource={"type": "loki", "uid": "${datasource}"}),
    "target-promql-rule": lambda board: _target(board).update(expr="sum by slo (up)"),
    "target-rate-interval-rule": lambda board: _target(board).update(expr="rate(inference_total[5m])"),
    "target-job-rule": lambda board: _target(board).update(expr='up{job="inference"}'),
    "target-instance-rule": lambda board: _target(board).update(expr='up{instance!~"$instance"}'),
    "target-counter-agg-rule": lambda board: _target(board).update(expr="sum(inference_total)"),
    "uneditable-dashboard": lambda board: board.update(editable=True),
}


def left(rule: str, name: str, board: dict[str, Any]) -> list[dashboard_linter.Fault]:
    """Return what a rule has against a dashboard, without what is excluded."""
    faults = dashboard_linter.RULES[rule](board)
    return [fault for fault in faults if not any(one.covers(rule, name, fault) for one in EXCLUDED)]


@pytest.mark.parametrize("rule", dashboard_linter.RULES)
@pytest.mark.parametrize("name", BOARDS)
def test_dashboard_passes_linter_rule(name: str, rule: str) -> None:
    assert left(rule, name, BOARDS[name]) == []


@pytest.mark.parametrize("rule", dashboard_linter.RULES)
def test_linter_detects_dashboard_violating_rule(rule: str) -> None:
    board = deepcopy(BOARDS["overview"])
    BREAKING[rule](board)

    assert left(rule, "overview", board)


@pytest.mark.parametrize("exclusion", EXCLUDED, ids=lambda one: f"{one.boards}: {one.reason}")
def test_every_linter_exclusion_is_necessary(exclusion: Exclusion) -> None:
    assert any(
        exclusion.covers(rule, name, fault)
        for rule in dashboard_linter.RULES
        if re.fullmatch(exclusion.rules, rule)
        for name, board in BOARDS.items()
        for fault in dashboard_linter.RULES[rule](board)
    )


def _variable(board: dict[str, Any], name: str) -> dict[str, Any]:
    return next(one for one in board["templating"]["list"] if one["name"] == name)


def _panel(board: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = board["panels"][FIRST]
    return found


def _target(board: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = _panel(board)["targets"][0]
    return found
