"""A rule with what it reads, and what the committed tests ask of these alone: promtool is quick where little is asked.

Prometheus evaluates every rule of a group at every step; a group of 35 takes as much longer than the five that count.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ai_workflow.slo import promql
from tests.monitoring import prometheus_tools

Rule = dict[str, object]


def trials(group: str, rules: Sequence[Rule], rule: Rule) -> Iterator[tuple[str, dict[str, Any], list[Rule]]]:
    """Yield the committed tests that ask for a rule, the quickest first: name, what is left of it, rules it needs."""
    kept = _with_records(rules, rule)
    found = []
    for name, whole in prometheus_tools.tests().items():
        if whole["rule_files"] == [f"../rules/{group}.yaml"]:
            cut = [left for test in whole["tests"] if (left := _cut(test, kept, rules, rule))]
            if cut:
                found.append((name, {**whole, "rule_files": ["rules.json"], "tests": cut}, kept))
    yield from sorted(found, key=lambda trial: sum(map(_cost, trial[1]["tests"])))


def write(folder: Path, test: dict[str, Any], rules: Sequence[Rule]) -> Path:
    """Write a test beside its rules, and return its path; what is JSON is YAML."""
    folder.mkdir(parents=True)
    (folder / "rules.json").write_text(json.dumps({"groups": [{"name": "cut", "rules": list(rules)}]}))
    path = folder / "test.json"
    path.write_text(json.dumps(test))
    return path


def _with_records(rules: Sequence[Rule], rule: Rule) -> list[Rule]:
    """The rule and the records that it reads, and those that these read; in the order of the group."""
    kept, waiting = [rule], [rule]
    while waiting:
        read = {selector.metric for selector in promql.selectors(str(waiting.pop()["expr"]))}
        more = [other for other in rules if other.get("record") in read and other not in kept]
        kept += more
        waiting += more
    return [other for other in rules if other in kept]


def _cut(test: dict[str, Any], kept: Sequence[Rule], rules: Sequence[Rule], rule: Rule) -> dict[str, Any]:
    """The test with the checks that what is kept can answer; empty if none of them is about the rule itself."""
    alerts = [other for other in test.get("alert_rule_test", []) if _answers(kept, rules, str(other["alertname"]))]
    exprs = [check for check in test.get("promql_expr_test", []) if _asks(check["expr"], kept)]
    about = any(check["alertname"] == rule.get("alert") for check in alerts) or any(
        _asks(check["expr"], [rule]) for check in exprs
    )
    return {**test, "alert_rule_test": alerts, "promql_expr_test": exprs} if about else {}


def _answers(kept: Sequence[Rule], rules: Sequence[Rule], alert: str) -> bool:
    """Promtool compares all alerts of a name at once."""
    return all(other in kept for other in rules if other.get("alert") == alert)


def _asks(expr: str, rules: Sequence[Rule]) -> bool:
    """Whether an expression asks for one of these rules: a record by its name, an alert by name and window."""
    (selector,) = promql.selectors(expr)
    asked = {label: value for label, _, value in selector.matchers}
    if selector.metric != "ALERTS":
        return any(rule.get("record") == selector.metric for rule in rules)
    return any(
        rule.get("alert") == asked["alertname"] and asked.get("window") in (None, _labels(rule).get("window"))
        for rule in rules
    )


def _labels(rule: Rule) -> dict[str, str]:
    own = rule["labels"]
    assert isinstance(own, dict)
    return own


def _cost(test: dict[str, Any]) -> int:
    """Samples, more or less: `0+1x99 100+0x9` are 110 of them."""
    pieces = [piece for line in test["input_series"] for piece in line["values"].split()]
    return sum(int(piece.rpartition("x")[2]) for piece in pieces)
