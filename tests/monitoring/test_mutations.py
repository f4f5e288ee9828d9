"""A number of `slo.yaml` or an expression of the rules that changes unnoticed would be one that nothing tests."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import yaml

from ai_workflow.config.problems import ConfigError
from monitoring import reading, rules
from tests.monitoring import mutants, tools

Groups = dict[str, list[dict[str, object]]]


def test_a_changed_number_is_noticed(tmp_path: Path) -> None:
    some = [pair for pair in mutants.of_numbers() if pair[0].startswith("alerts.") and "Budget" not in pair[0]]

    assert [name for name, promises in islice(some, 3, None, 12) if not _number_noticed(name, promises, tmp_path)] == []


def test_a_changed_expression_is_noticed(tmp_path: Path) -> None:
    some = [found for found in _expressions() if not found[0].startswith("slo-")]

    assert [found[0] for found in islice(some, 5, None, 30) if not _noticed(*found, tmp_path)] == []


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_every_changed_number_is_noticed(tmp_path: Path) -> None:
    pairs = mutants.of_numbers()

    assert [name for name, promises in pairs if not _number_noticed(name, promises, tmp_path)] == []


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_every_changed_expression_is_noticed(tmp_path: Path) -> None:
    assert [found[0] for found in _expressions() if not _noticed(*found, tmp_path)] == []


def _number_noticed(name: str, promises: dict[str, Any], folder: Path) -> bool:
    file = folder / "slo.yaml"
    file.write_text(yaml.safe_dump(promises, sort_keys=False))
    try:
        spec = reading.load(file)
    except ConfigError:
        return True
    before = tools.groups()
    changed = {group: held for group, held in rules.groups(spec).items() if held != before[group]}
    first = [
        test for group, held in changed.items() for rule in held if "alert" in rule and rule not in before[group]
        for test in _tests(group, rule)
    ]  # fmt: skip
    return _noticed(name, changed, first, folder)


def _noticed(name: str, changed: Groups, first: list[str], folder: Path) -> bool:
    return bool(tools.noticed(changed, folder / name.replace("/", "_").replace(" ", "_"), first))


def _expressions() -> list[tuple[str, Groups, list[str]]]:
    """Each rule's mutants, as the whole group with it."""
    found = []
    for group, held in tools.groups().items():
        for index, rule in enumerate(held):
            for number, expr in enumerate(mutants.of_expression(str(rule["expr"]))):
                changed = [*held[:index], {**rule, "expr": expr}, *held[index + 1 :]]
                name = f"{group}.{rule.get('alert') or rule['record']}.{index}.{number}"
                if not _same(rule, expr):
                    found.append((name, {group: changed}, _tests(group, rule)))
    return found


def _same(rule: dict[str, object], expr: str) -> bool:
    """Whether a change cannot be seen within an hour: the period is longer, and a counter's name has one joiner."""
    return "period" in str(rule.get("record")) and "5184000s" in expr


def _tests(group: str, rule: dict[str, object]) -> list[str]:
    """The tests that most likely notice a change of a rule."""
    name, slo = str(rule.get("alert", "")), group.removeprefix("slo-")
    if not group.startswith("slo-"):
        return [name]
    labels = rule["labels"]
    assert isinstance(labels, dict)
    return [f"{slo}-{labels.get('window')}", f"{slo}-hold", f"{slo}-{name}", f"{slo}-records"] if name else [
        f"{slo}-records"
    ]  # fmt: skip
