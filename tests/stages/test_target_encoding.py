"""Target encoding by YAML: out of fold for training rows, the values of all training rows for all others."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import TargetEncoder

from ai_workflow.datasets import partitions
from ai_workflow.datasets.partitions import Dataset
from ai_workflow.errors import BrokenVersionError, StageError
from ai_workflow.features import transform, worker_rows
from ai_workflow.features.own_features import OwnFeatures
from ai_workflow.features.row_encoder import Encoder
from ai_workflow.stages import feature_engineering
from ai_workflow.stages.feature_engineering import read_spec
from ai_workflow.storage.store import Store
from tests.config_project import Project
from tests.stages.tables import Pipeline, load, parted, people, rows, settings

pytestmark = pytest.mark.integration
CITY: dict[str, Any] = {"kind": "target", "column": "city", "smoothing": 20, "folds": 5}
REGRESSION: dict[str, Any] = {"task": "regression", "target": "spent"}


def table(**options: Any) -> pd.DataFrame:
    """Return rows with missing cities, and with cities that only rows held out or few rows have."""
    frame = people(**options)
    city = frame.city.where(frame.index % 11 != 0, None).where(frame.index % 37 != 0, "Essen")
    return frame.assign(city=city.where(frame.index % 97 != 1, "C" + frame.person))


def fitted(
    store: Store, *derive: Any, frame: pd.DataFrame | None = None, parts: int = 3, **options: Any
) -> tuple[Any, Any]:
    """Return clean rows and features of a pipeline with these derived features."""
    dropped = "bought" if options.get("target") == "spent" else "spent"
    run = Pipeline(store, settings(features={"derive": list(derive)}, **options))
    frame = (table() if frame is None else frame).drop(columns=dropped)
    clean = run.clean(load(store, *parted(frame, parts)))
    return clean, run.fit(clean)


def held_out(frame: pd.DataFrame) -> np.ndarray:
    return frame["__holdout"].to_numpy(bool)


@pytest.mark.parametrize("options", [{}, REGRESSION])
def test_rows_held_out_have_the_values_of_scikit_learn(store: Store, options: dict[str, Any]) -> None:
    _, featured = fitted(store, CITY, **options)
    frame, source = rows(store, featured), table()
    is_held_out = held_out(frame)
    training = source[~is_held_out & source.city.notna()]
    y = training.spent if options else (training.bought == "yes").astype(float)
    # scikit-learn takes missing values as a category; the prior is of all training rows.
    every = source[~is_held_out]
    prior = (every.spent if options else every.bought == "yes").mean()
    sums = y.groupby(training.city).agg(["sum", "count"])
    expected = source.city.map((sums["sum"] + 20 * prior) / (sums["count"] + 20)).fillna(prior)
    assert frame.city_target[is_held_out].tolist() == pytest.approx(expected[is_held_out].tolist(), rel=1e-6)
    complete = source.assign(city=source.city.fillna("none"))
    _, again = fitted(store, CITY, frame=complete, **options)
    filled = rows(store, again)
    encoder = TargetEncoder(smooth=20, target_type="continuous")
    of_all = (complete.spent if options else complete.bought == "yes").astype(float)
    encoder.fit(complete[["city"]][~is_held_out], of_all[~is_held_out])
    values = encoder.transform(complete[["city"]])[:, 0]
    assert filled.city_target[is_held_out].tolist() == pytest.approx(values[is_held_out].tolist(), rel=1e-6)


@pytest.mark.parametrize("options", [{}, REGRESSION])
def test_training_rows_have_values_of_other_rows_only(store: Store, options: dict[str, Any]) -> None:
    """Another target in a row changes the values of the rows in other folds, and not its own."""
    _, featured = fitted(store, {**CITY, "smoothing": 0}, **options)
    before = rows(store, featured)
    training = np.flatnonzero(~held_out(before))
    changed = int(next(row for row in training if table().city[row] == "Bonn"))
    source = table()
    source.loc[changed, "spent"] += 1e6
    source.loc[changed, "bought"] = "no" if source.bought[changed] == "yes" else "yes"
    _, featured = fitted(store, {**CITY, "smoothing": 0}, frame=source, **options)
    after = rows(store, featured)
    assert after.city_target[changed] == before.city_target[changed]
    is_bonn = (source.city == "Bonn").to_numpy()
    is_changed = (after.city_target != before.city_target).to_numpy() & is_bonn
    assert is_changed[training].any()
    assert is_changed[is_bonn & held_out(before)].all()


def test_rows_of_a_group_are_in_one_fold(store: Store) -> None:
    source = table().assign(team=[f"t{number % 29}" for number in range(400)])
    options: dict[str, Any] = {"evaluate": {"split": {"kind": "group", "column": "team"}}}
    _, featured = fitted(store, {**CITY, "smoothing": 0}, frame=source, **options)
    before = rows(store, featured)
    team = source.team[np.flatnonzero(~held_out(before))[0]]
    of_team = (source.team == team).to_numpy() & (source.city == "Bonn").to_numpy()
    changed = source.assign(bought=source.bought.where(~of_team, "yes"))
    assert (changed.bought != source.bought).any()
    _, featured = fitted(store, {**CITY, "smoothing": 0}, frame=changed, **options)
    after = rows(store, featured)
    assert after.city_target[of_team].tolist() == before.city_target[of_team].tolist()
    is_other = (source.city == "Bonn").to_numpy() & ~of_team
    assert (after.city_target != before.city_target)[is_other].any()


def test_targets_of_rows_held_out_change_nothing(store: Store) -> None:
    _, featured = fitted(store, CITY, **REGRESSION)
    before, source = rows(store, featured), table()
    source.loc[held_out(before), "spent"] *= 1000
    _, again = fitted(store, CITY, frame=source, **REGRESSION)
    assert rows(store, again).city_target.tolist() == before.city_target.tolist()


def test_random_categories_give_no_score_above_chance(store: Store) -> None:
    chance = random.Random(5)
    source = people(3000).assign(city=[f"C{chance.randrange(1500)}" for _ in range(3000)])
    source["bought"] = [chance.choice(["no", "yes"]) for _ in range(3000)]
    schema = {"city": {"type": "category", "nullable": True}}
    _, featured = fitted(store, {**CITY, "smoothing": 1}, frame=source, schema=schema)
    frame = rows(store, featured)
    is_training, y = ~held_out(frame), frame["__target"].to_numpy()
    out_of_fold = roc_auc_score(y[is_training], frame.city_target[is_training])
    # Four standard errors of the AUC without information, sqrt(1 / (3 n)) for equal classes.
    assert out_of_fold < 0.5 + 4 * np.sqrt(1 / (3 * is_training.sum()))
    in_fold = transform.transform(source, read_spec(store, featured))
    place = transform.names(read_spec(store, featured)).index("city_target")
    assert roc_auc_score(y[is_training], in_fold[is_training, place]) > 0.8


@pytest.mark.parametrize("options", [{}, REGRESSION])
def test_parts_of_the_data_change_no_bit(store: Store, tmp_path: Path, options: dict[str, Any]) -> None:
    found = []
    for number in (1, 3, 7):
        other = Store(tmp_path / str(number))
        _, featured = fitted(other, CITY, parts=number, **options)
        found.append(
            (rows(other, featured).city_target.to_numpy("float32").tobytes(), read_spec(other, featured)["derived"])
        )
    assert found[0] == found[1] == found[2]


def test_batch_worker_and_service_compute_equal_bits(store: Store) -> None:
    clean, featured = fitted(store, CITY)
    spec = json.loads(json.dumps(read_spec(store, featured)))
    scored: Any = feature_engineering.apply(store, clean, spec)
    batch = rows(store, scored)[transform.names(spec)].to_numpy("float32")
    _, frame = next(partitions.frames(store, Dataset.load(store, clean)))
    wide = worker_rows.to_worker(frame, spec)
    functions = OwnFeatures(spec)
    assert worker_rows.from_worker(wide, spec, functions).tobytes() == batch[: len(frame)].tobytes()
    encoder = Encoder(spec, "")
    sent = json.loads(frame[transform.input_columns(spec)].to_json(orient="records", date_format="iso"))
    as_text = [{name: None if value is None else str(value) for name, value in row.items()} for row in sent]
    for request in (sent, as_text):
        data = np.frombuffer(encoder.encode_checked(request), np.float32).reshape(len(request), -1)
        answered = worker_rows.from_worker(data, spec, functions)
        assert answered.tobytes() == batch[: len(frame)].tobytes()
    # A scoring of the training file gets the values of the service, not those out of fold.
    assert (rows(store, scored).city_target != rows(store, featured).city_target).any()


def test_unseen_and_missing_categories_have_the_prior(store: Store) -> None:
    _, featured = fitted(store, CITY)
    spec = read_spec(store, featured)
    [own] = spec["derived"]
    row = people(1).drop(columns=["spent", "bought"])
    frame = pd.concat([row.assign(city=value) for value in ("Nowhere", None)], ignore_index=True)
    place = transform.names(spec).index("city_target")
    [prior] = own["state"]["prior"]
    assert transform.transform(frame, spec)[:, place].tolist() == [np.float32(prior)] * 2


def test_more_classes_have_a_feature_each(store: Store) -> None:
    source = table(classes=("a", "b", "c"))
    _, featured = fitted(store, {**CITY, "name": "where"}, frame=source)
    frame = rows(store, featured)
    names = ["where_a", "where_b", "where_c"]
    assert transform.names(read_spec(store, featured))[-3:] == names
    assert frame[names].sum(axis=1).tolist() == pytest.approx([1.0] * len(frame), rel=1e-6)
    training = source[~held_out(frame)]
    priors = training.bought.value_counts(normalize=True)
    missing = frame[source.city.isna().to_numpy()]
    assert missing.where_b.tolist() == pytest.approx([priors["b"]] * len(missing), rel=1e-6)


def test_other_settings_and_the_same_settings(store: Store) -> None:
    """Other folds change the training rows only, and a repeated fit computes nothing else."""
    _, first = fitted(store, CITY)
    assert fitted(store, CITY)[1]["fingerprint"] == first["fingerprint"]
    for change in ({"folds": 4}, {"smoothing": 21}):
        assert fitted(store, {**CITY, **change})[1]["fingerprint"] != first["fingerprint"]


@pytest.mark.parametrize(
    ("item", "problem"),
    [
        ({"column": "town"}, "target of town: there is no column town among the features. Name one of city"),
        ({"column": "age"}, "target of age: age is of type integer. Name a column of type category"),
        ({"column": "note"}, "note is of type text"),
        ({"name": "age"}, "the feature age has the name of a column or of another feature"),
    ],
)
def test_unsuitable_column_is_refused(store: Store, item: dict[str, Any], problem: str) -> None:
    source = table().assign(note=[f"text number {number}" for number in range(400)])
    with pytest.raises(StageError) as error:
        fitted(store, {**CITY, **item}, frame=source)
    assert problem in str(error.value)


def test_too_many_classes_are_refused(store: Store) -> None:
    source = table().assign(bought=[f"c{number % 21}" for number in range(400)])
    with pytest.raises(StageError, match="the target has 21 classes, and each class has a feature; at most 20"):
        fitted(store, CITY, frame=source)


def test_version_with_another_definition_is_refused(store: Store) -> None:
    clean, featured = fitted(store, CITY)
    spec = json.loads(json.dumps(read_spec(store, featured)).replace("target-1", "target-2"))
    with pytest.raises(BrokenVersionError, match="target of city: its code target-1 is not the code target-2"):
        feature_engineering.apply(store, clean, spec)


@pytest.mark.parametrize(
    ("item", "problem"),
    [
        ("{kind: target}", "derive.0.column: required key is missing"),
        ("{kind: target, column: c, folds: 1}", "derive.0.folds: must be"),
        ("{kind: target, column: c, smoothing: -1}", "derive.0.smoothing: must be"),
        ("{kind: target, column: c, smoothing: .nan}", "derive.0.smoothing: must be"),
        ("{kind: target, column: c, fold: 3}", "unknown key"),
        ("{kind: target, column: y}", "derive.0.column y must not be the target"),
        ("{kind: target, column: i}", "derive.0.column i must not be the id"),
    ],
)
def test_invalid_encoding_is_a_problem_of_its_line(tmp_path: Path, item: str, problem: str) -> None:
    project = Project(tmp_path)
    head = "pipeline: p\ntask: regression\nsource: {kind: sample}\ntarget: y\nid: i\n"
    project.write("p.yaml", f"{head}features:\n  derive: [{item}]\n")
    with pytest.raises(Exception, match="problem") as error:
        project.load(tmp_path / "p.yaml")
    assert "1 problem in" in str(error.value)
    assert problem in str(error.value)
