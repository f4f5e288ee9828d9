"""Types of undeclared columns stay those of the latest version as a table grows, unless the values contradict them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest

from ai_workflow.config.settings import Column
from ai_workflow.datasets.notation import type_evidence, type_inference
from ai_workflow.datasets.notation.published import NO_TYPES, PublishedTypes
from ai_workflow.datasets.notation.type_inference import Inference
from ai_workflow.registry import published_types
from ai_workflow.registry.registry import Registry
from ai_workflow.stages import preprocessor
from ai_workflow.stages.preprocessor import RowRules
from ai_workflow.storage.store import Store
from tests.stages.tables import Pipeline, Result, load, settings

NUMBER = {"type": "number", "nullable": True}
INTEGER = {"type": "integer", "nullable": True}
CATEGORY = {"type": "category", "nullable": True}
TEXT = {"type": "text", "nullable": True}
DATE = {"type": "datetime", "nullable": True}


def infer(published: dict[str, Any], *cells: str) -> Inference:
    """Return what a column becomes whose type in the latest version was another one or the same."""
    types = PublishedTypes(version="model_v1.0", columns={"x": Column.model_validate(published)})
    evidence = type_evidence.count(pd.Series(cells, dtype="str"))
    return type_inference.infer_column("x", [evidence], 0.01, published=types)


@pytest.mark.parametrize(
    ("published", "cells"),
    [
        (NUMBER, ["1", "2"]),
        (NUMBER | {"thousands": ","}, ["1,234", "5,678"]),
        (NUMBER | {"decimal": ",", "unit": "€"}, ["1,500 €", "2 €"]),
        (NUMBER | {"decimal": ","}, ["1,234"]),
        (NUMBER | {"accounting": True}, ["1", "2.5"]),
        (DATE | {"format": "%d/%m/%Y"}, ["05/01/2024", "07/02/2024"]),
        (TEXT, ["red", "red"]),
        (CATEGORY, [f"name {number}" for number in range(80)]),
    ],
)
def test_published_type_is_kept_if_the_values_have_it(published: dict[str, Any], cells: list[str]) -> None:
    inference = infer(published, *cells)
    assert inference.column == Column.model_validate(published)
    assert inference.warnings == ()
    assert inference.kept.startswith("x as ")


@pytest.mark.parametrize(
    ("published", "cells", "column"),
    [
        (INTEGER, ["1", "2.5"], NUMBER),
        (INTEGER, ["1", "18446744073709551615"], NUMBER),
        (NUMBER, ["red", "blue"], CATEGORY),
        (DATE, ["05.01.2024"], DATE | {"format": "%d.%m.%Y"}),
        (NUMBER | {"decimal": ","}, ["1.5", "2.25"], NUMBER),
        (NUMBER | {"unit": "€"}, ["$1.5", "$2.25"], NUMBER | {"unit": "$"}),
    ],
)
def test_contradicted_type_is_inferred_again_with_a_warning(
    published: dict[str, Any], cells: list[str], column: dict[str, Any]
) -> None:
    inference = infer(published, *cells)
    assert inference.column == Column.model_validate(column)
    assert "the values of column 'x' contradict its type in model_v1.0" in inference.warnings[0]


def test_category_whose_values_become_numbers_stays_one_with_the_setting_that_changes_it() -> None:
    inference = infer(CATEGORY, "1,5", "2,25")
    assert inference.column == Column.model_validate(CATEGORY)
    assert "as in model_v1.0" in inference.warnings[0]
    assert 'schema: {x: {type: number, decimal: ",", nullable: true}}' in inference.warnings[0]


def test_same_type_is_neither_kept_nor_a_warning() -> None:
    assert infer(INTEGER, "1", "2") == Inference(Column.model_validate(INTEGER))
    assert len(infer(CATEGORY, "1,234").warnings) == 1


def frame(amount: Callable[[int], str]) -> pd.DataFrame:
    """Return a table of one undeclared text column and a target that it explains."""
    rows = range(200)
    return pd.DataFrame(
        {"amount": [amount(row) for row in rows], "y": ["low" if row % 100 < 50 else "high" for row in rows]}
    )


def european(row: int) -> str:
    return f"{row % 100},5"


def ambiguous(row: int) -> str:
    return f"{100 + row % 100},125"


@pytest.fixture
def pipeline(store: Store) -> Pipeline:
    made = Pipeline(store, settings(target="y", id=None), alone=True)
    made.publish(frame(european))
    return made


def types_of(pipeline: Pipeline, loaded: Result) -> PublishedTypes:
    return published_types.of_training(pipeline.store, pipeline.settings.models, loaded, RowRules.of(pipeline.settings))


@pytest.mark.integration
def test_next_training_reads_ambiguous_values_as_the_version_does(
    pipeline: Pipeline, caplog: pytest.LogCaptureFixture
) -> None:
    loaded, rules = load(pipeline.store, frame(ambiguous)), RowRules.of(pipeline.settings)
    types = types_of(pipeline, loaded)
    assert types.version == "model_v1.0"
    assert list(types.columns) == ["amount"]
    caplog.set_level("INFO", "ai_pipeline.preprocessor")
    alone = preprocessor.preprocess(pipeline.store, loaded, rules)
    assert "may have a separator" in alone["warnings"][0]
    clean = preprocessor.preprocess(pipeline.store, loaded, rules, types)
    assert clean["warnings"] == []
    assert clean["fingerprint"] != alone["fingerprint"]
    assert 'types kept from model_v1.0: amount as number with decimal: ","' in caplog.text


@pytest.mark.integration
def test_types_of_a_training_do_not_change_with_a_later_version(pipeline: Pipeline) -> None:
    first = load(pipeline.store, frame(european))
    types = types_of(pipeline, first)
    later = Pipeline(pipeline.store, pipeline.settings, alone=True)
    later.publish(frame(lambda row: f"{row % 100}.25"))
    assert Registry(pipeline.store, pipeline.settings.models).aliases()["latest"] != types.version
    assert types_of(pipeline, first) == types
    assert types_of(pipeline, load(pipeline.store, frame(ambiguous))) != types


@pytest.mark.integration
def test_declared_columns_and_versions_without_a_list_have_no_published_types(store: Store) -> None:
    declared = settings(target="y", id=None, schema={"amount": {**NUMBER, "decimal": ","}})
    pipeline = Pipeline(store, declared, alone=True)
    assert types_of(pipeline, load(store, frame(european))) == NO_TYPES
    made = pipeline.publish(frame(european))
    assert "undeclared" in made.file("card.json").decode()
    assert types_of(pipeline, load(store, frame(ambiguous))).columns == {}
