"""Kinds of holdout: by group, class, time, column and file, in all stages of a training."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from ai_workflow.datasets import partitions
from ai_workflow.datasets.partitions import SOURCE, Dataset
from ai_workflow.errors import StageError
from ai_workflow.features import transform
from ai_workflow.registry import verification
from ai_workflow.stages import feature_engineering, preprocessor, trainer
from ai_workflow.stages.feature_engineering import HOLDOUT
from ai_workflow.storage.store import Store
from tests.stages.tables import Made, Pipeline, load, parted, people, rows, settings

pytestmark = pytest.mark.integration


@pytest.fixture
def store(tmp_path: Any) -> Store:
    return Store(tmp_path)


def table() -> pd.DataFrame:
    frame = people().drop(columns="spent")
    frame["family"] = [f"f{number % 40}" for number in range(len(frame))]
    frame["fold"] = ["test" if number % 5 == 0 else "train" for number in range(len(frame))]
    return frame


def trained(store: Store, split: dict[str, Any], **changes: Any) -> Made:
    return Pipeline(store, settings(evaluate={"split": split}, **changes), alone=True).publish(*parted(table(), 3))


def joined(made: Made) -> pd.DataFrame:
    """Return the clean rows with whether they are held out."""
    clean = rows(made.pipeline.store, made.clean)
    return clean.assign(held=rows(made.pipeline.store, made.featured)[HOLDOUT].to_numpy())


def scored_columns(made: Made) -> list[str]:
    """Return the clean columns of a scoring of rows without target and columns of the training."""
    frame = table().drop(columns=["bought", *made.spec.get("training_columns", [])])
    rules = preprocessor.RowRules.of_spec(made.spec, made.pipeline.settings)
    clean = preprocessor.preprocess(made.pipeline.store, load(made.pipeline.store, frame), rules)
    featured = feature_engineering.apply(made.pipeline.store, clean, made.spec)
    assert rows(made.pipeline.store, featured)[transform.names(made.spec)].shape[0] == len(frame)
    return list(rows(made.pipeline.store, clean).columns)


def test_group_holdout_separates_groups_and_needs_no_group_in_scoring(store: Store) -> None:
    made = trained(store, {"kind": "group", "column": "family"})
    frame = joined(made)
    assert frame.groupby("family")["held"].nunique().max() == 1
    assert 0.05 < frame["held"].mean() < 0.4
    assert "family" not in transform.input_columns(made.spec)
    assert "family" not in scored_columns(made)
    card = made.file("card.md").decode()
    assert "- **holdout**: 20% of the groups by the hash of family" in card
    assert "`family` (needed by the training only)" in card
    assert verification.problems(made.pipeline.registry, made.version, 30) == []


def test_validation_rows_of_early_stopping_keep_groups_together(store: Store) -> None:
    made = trained(
        store, {"kind": "group", "column": "family"}, trainer={"steps": 3, "early_stopping": 2, "validation": 0.3}
    )
    data = trainer.split_rows(store, Dataset.load(store, made.featured), made.spec, made.pipeline.settings.trainer)
    validation = np.concatenate([part.mask for part in data.validation])
    training = np.concatenate([part.mask for part in data.training])
    families = joined(made)["family"].to_numpy()
    assert validation.any()
    assert not set(families[validation]) & set(families[training])


def test_stratified_holdout_has_the_share_of_each_class(store: Store) -> None:
    frame = joined(trained(store, {"kind": "stratified"}))
    for _, group in frame.groupby("bought"):
        assert group["held"].sum() == round(len(group) * 0.2)


def test_time_holdout_starts_at_the_given_time(store: Store) -> None:
    frame = table()
    start = frame["opened"].sort_values().iloc[300]
    made = trained(store, {"kind": "time", "start": f"{start.isoformat()}Z"}, timestamp="opened")
    clean = joined(made)
    assert (clean["held"] == (clean["opened"] >= start)).all()
    assert f"the rows from {start.isoformat()} on" in made.file("card.md").decode()


def test_id_holdout_ignores_the_timestamp(store: Store) -> None:
    made = trained(store, {"kind": "id"}, timestamp="opened")
    held = joined(made)
    assert held["opened"][held["held"]].min() < held["opened"].median()


def test_column_holdout_takes_rows_with_its_values_and_is_no_feature(store: Store) -> None:
    made = trained(store, {"kind": "column", "column": "fold", "values": ["test"]})
    frame = joined(made)
    assert (frame["held"] == (frame["fold"] == "test")).all()
    assert "fold" not in scored_columns(made)


def test_file_holdout_takes_rows_of_the_files(store: Store) -> None:
    run = Pipeline(store, settings(evaluate={"split": {"kind": "file", "files": ["test*.csv"]}}), alone=True)
    pieces = parted(table(), 4)
    clean = run.clean(load(store, *pieces, sources=("a.csv", "in/test_1.csv", "b.csv", "test_2.csv")))
    featured = run.fit(clean)
    held = rows(store, featured)[HOLDOUT]
    assert held.tolist() == [False] * 100 + [True] * 100 + [False] * 100 + [True] * 100
    result = run.evaluate(clean, featured, run.train(featured))
    assert "on 200 rows held out" in result["message"]


def test_file_holdout_reads_the_file_of_each_row_of_a_joined_partition(store: Store) -> None:
    run = Pipeline(store, settings(evaluate={"split": {"kind": "file", "files": ["b.csv"]}}), alone=True)
    clean = run.clean(load(store, table()))
    dataset = Dataset.load(store, clean)
    frame = rows(store, clean)
    frame[SOURCE] = ["a.csv"] * 250 + ["b.csv"] * 150
    part = partitions.write(store, "data/clean/joined.parquet", frame, "a.csv and others")
    joined_clean = {**clean, **Dataset("clean", (part,), dataset.info).save(store)}
    featured = run.fit(joined_clean)
    assert rows(store, featured)[HOLDOUT].tolist() == [False] * 250 + [True] * 150
    assert featured["features"] > 3
    spec = feature_engineering.read_spec(store, featured)
    assert spec["training_rows"] == 250


@pytest.mark.parametrize(
    ("split", "problem"),
    [
        ({"kind": "group", "column": "team"}, r"split\.column 'team' is not a column of the data: age, bought"),
        ({"kind": "column", "column": "fold", "values": ["best"]}, r"none of 400 rows is held out"),
        ({"kind": "column", "column": "fold", "values": ["test", "train"]}, r"every row is held out"),
        ({"kind": "file", "files": ["other.csv"]}, r"none of 400 rows is held out.* evaluate\.split"),
    ],
)
def test_split_without_rows_on_one_side_is_rejected(store: Store, split: dict[str, Any], problem: str) -> None:
    with pytest.raises(StageError, match=problem):
        trained(store, split)
