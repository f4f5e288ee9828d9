"""A number of `slo.yaml` or an expression of the rules that changes unnoticed would be one that nothing tests."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from ai_workflow.config.problems import ConfigError
from ai_workflow.slo import reader, rules
from tests.monitoring import mutants, prometheus_tools, rule_subsets
from tests.monitoring.rule_subsets import Rule


@dataclass(frozen=True, slots=True)
class Mutant:
    """What is changed, and the rules that are others by that, each as group, its rules, and itself."""

    name: str
    changed: tuple[tuple[str, list[Rule], Rule], ...]


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_every_slo_number_mutation_is_detected(tmp_path: Path) -> None:
    assert _unnoticed(_of_numbers(mutants.of_numbers(), tmp_path), tmp_path) == []


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_every_rule_expression_mutation_is_detected(tmp_path: Path) -> None:
    assert _unnoticed(_of_expressions(), tmp_path) == []


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_unmutated_rules_pass_tests(tmp_path: Path) -> None:
    """What is left of a test and of a group passes: only what is changed can be what fails."""
    whole = [
        rule_subsets.write(tmp_path / f"{group}.{index}.{name}", test, kept)
        for group, held in prometheus_tools.groups().items() for index, rule in enumerate(held)
        for name, test, kept in rule_subsets.trials(group, held, rule)
    ]  # fmt: skip

    assert whole
    assert prometheus_tools.failing(whole) == {}


def _unnoticed(found: Iterable[Mutant], folder: Path) -> list[str]:
    """Return the names of the mutants with which every test passes that asks for a changed rule."""
    waiting = {mutant.name: _trials(mutant) for mutant in found}
    survivors, turn = [], 0
    while waiting:
        turn += 1
        written = {}
        for index, (name, trials) in enumerate(waiting.items()):
            if trial := next(trials, None):
                written[rule_subsets.write(folder / f"{turn}.{index}", *trial)] = name
            else:
                survivors.append(name)
        noticed = prometheus_tools.failing(written)
        waiting = {name: waiting[name] for path, name in written.items() if path not in noticed}
    return survivors


def _trials(mutant: Mutant) -> Iterator[tuple[dict[str, Any], list[Rule]]]:
    for group, held, rule in mutant.changed:
        for _, test, kept in rule_subsets.trials(group, held, rule):
            yield test, kept


def _of_numbers(pairs: Iterable[tuple[str, dict[str, Any]]], folder: Path) -> Iterator[Mutant]:
    """Those that are taken: a file that is refused is noticed."""
    file = folder / "slo.yaml"
    for name, promises in pairs:
        file.write_text(yaml.safe_dump(promises, sort_keys=False))
        try:
            spec = reader.load(file)
        except ConfigError:
            continue
        before = prometheus_tools.groups()
        changed = [
            (group, held, rule)
            for group, held in rules.groups(spec).items() for rule in held if rule not in before[group]
        ]  # fmt: skip
        yield Mutant(name, tuple(sorted(changed, key=lambda found: "alert" not in found[2])))


def _of_expressions() -> Iterator[Mutant]:
    """Each rule's, as the whole group with it."""
    for group, held in prometheus_tools.groups().items():
        for index, rule in enumerate(held):
            for number, expr in enumerate(mutants.of_expression(str(rule["expr"]))):
                other = {**rule, "expr": expr}
                name = f"{group}.{rule.get('alert') or rule['record']}.{index}.{number}"
                yield Mutant(name, ((group, [*held[:index], other, *held[index + 1 :]], other),))
