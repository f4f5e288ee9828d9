"""Tables as people have them train through YAML alone: without a header, with quoted labels, coded, with gaps."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from ai_workflow.local.server import Server
from ai_workflow.registry.registry import Registry
from tests.flows import sample_tables
from tests.flows.workspace import Run, Workplace

# Real trainings, one for each table.
pytestmark = pytest.mark.slow
COUNT = 400
Rows = list[list[Any]]


def numbers(draw: np.random.Generator) -> Rows:
    """Five numbers, then 0 or 1."""
    x = draw.normal(0, 1, (COUNT, 5))
    return [[*(f"{value:.3f}" for value in row), int(row[0] + row[1] > 0)] for row in x]


def quoted_labels(draw: np.random.Generator) -> Rows:
    """Six numbers, then `'-1'` or, seldom, `'1'`, quotes and all."""
    x = draw.normal(0, 1, (COUNT, 6))
    return [[*(f"{value:.4g}" for value in row), "'1'" if row[0] > 1.3 else "'-1'"] for row in x]


def coded(draw: np.random.Generator) -> Rows:
    """Coded categories among whole numbers, then 1 (good) or 2 (bad)."""
    checking, months, purpose = draw.integers(1, 5, COUNT), draw.integers(4, 72, COUNT), draw.integers(0, 10, COUNT)
    bad = checking + months / 24 + draw.normal(0, 0.3, COUNT) < 3.5
    return [
        [f"A1{checking[row]}", months[row], f"A4{purpose[row]}", f"A20{1 + row % 2}", 2 if bad[row] else 1]
        for row in range(COUNT)
    ]


def gaps(draw: np.random.Generator) -> Rows:
    """A third of the values `?`, one number written `38.50` and `39.2`, codes that are numbers; then 1 or 2."""
    heat, pulse, code = draw.normal(38.5, 1, COUNT), draw.integers(40, 120, COUNT), draw.integers(1, 4, COUNT)
    ill = heat - 38.5 + (code == 3) > 0.3

    def cell(text: object) -> object:
        return "?" if draw.random() < 0.3 else text

    return [
        [
            cell(f"{heat[row]:.2f}" if row % 2 else f"{heat[row]:.1f}"),
            cell(pulse[row]),
            code[row],
            cell(f"{heat[row] * 2:.2f}"),
            2 if ill[row] else 1,
        ]
        for row in range(COUNT)
    ]


def measures(draw: np.random.Generator) -> Rows:
    """One category and three measures, then a whole number to be told."""
    kind, size = draw.integers(0, 3, COUNT), draw.gamma(4, 1, (COUNT, 3))
    rings = np.round(3 + 2 * size[:, 0] + 3 * kind + draw.normal(0, 0.5, COUNT)).astype(int)
    return [["MFI"[kind[row]], *(f"{value:.3f}" for value in size[row]), rings[row]] for row in range(COUNT)]


# What the YAML says beside the file, and what each must reach.
TABLES: dict[str, tuple[Callable[[np.random.Generator], Rows], dict[str, Any], dict[str, Any]]] = {
    "numbers": (numbers, {"target": "column_5"}, {"accuracy": 0.85, "auc": 0.9}),
    "quoted-labels": (quoted_labels, {"target": "column_6", "evaluate": {"metric": "auc"}}, {"auc": 0.9}),
    "coded": (coded, {"target": "column_4"}, {"accuracy": 0.8}),
    "gaps": (gaps, {"target": "column_4", "source": {"missing": ["?"]}}, {"accuracy": 0.75}),
    "measures": (measures, {"target": "column_4", "task": "regression"}, {"r2": 0.7}),
}
CLASSES = {"numbers": ["0", "1"], "quoted-labels": ["'-1'", "'1'"], "coded": ["1", "2"], "gaps": ["1", "2"]}


@pytest.fixture(scope="module")
def trained_on(prefect_server: Server, tmp_path_factory: pytest.TempPathFactory) -> tuple[Workplace, dict[str, Run]]:
    place = Workplace(tmp_path_factory.mktemp("tables"))
    calls = []
    for name, (make, said, _) in TABLES.items():
        sample_tables.write(place.folder / f"{name}.csv", make(np.random.default_rng(7)), header=None)
        source = {"kind": "csv", "path": f"{name}.csv", "header": False} | said.get("source", {})
        trainer = {"steps": 60, "params": {"num_threads": 1, "min_data_in_leaf": 10}}
        place.configure(
            f"{name}.yaml",
            **{"id": None, "evaluate": {}, "trainer": trainer, **said, "pipeline": name, "source": source},
        )
        calls.append({"flow": "training", "config": f"{name}.yaml"})
    return place, dict(zip(TABLES, place.call(calls), strict=True))


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.slow
def test_table_trains_with_yaml_config_only(name: str, trained_on: tuple[Workplace, dict[str, Run]]) -> None:
    place, runs = trained_on
    run = runs[name]

    assert run.code == 0, run.output
    assert run.of("preprocessor").message == f"{COUNT} records cleaned, 0 rejected"
    registry = Registry(place.store, f"models/development/{name}")
    version = registry.get("latest")
    card = json.loads(registry.read(version, "card.json"))
    assert card["classes"] == CLASSES.get(name)
    for metric, least in TABLES[name][2].items():
        assert card["scores"][metric] >= least, f"{name}: {metric}"


def test_mixed_number_formats_are_parsed_equally(trained_on: tuple[Workplace, dict[str, Run]]) -> None:
    registry = Registry(trained_on[0].store, "models/development/gaps")
    schema = json.loads(registry.read(registry.get("latest"), "features.json"))["schema"]

    assert schema["column_0"]["type"] == "number"
    assert schema["column_1"]["type"] == "integer"


def test_model_card_warns_about_imbalanced_classes(trained_on: tuple[Workplace, dict[str, Run]]) -> None:
    registry = Registry(trained_on[0].store, "models/development/quoted-labels")
    card = registry.read(registry.get("latest"), "card.md").decode()

    assert "of the rows held out are of class \\`'-1'\\`: accuracy is not informative" in card
