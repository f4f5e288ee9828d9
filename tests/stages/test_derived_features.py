"""Features by YAML, and functions that learn from the training rows: equal values in training, scoring and worker."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ai_workflow.datasets import fingerprint, partitions
from ai_workflow.datasets.partitions import Dataset
from ai_workflow.errors import BrokenVersionError, StageError
from ai_workflow.features import transform, worker_rows
from ai_workflow.features.own_features import OwnFeatures
from ai_workflow.stages import feature_engineering
from ai_workflow.stages.feature_engineering import read_spec
from ai_workflow.storage.store import Store
from tests.config_project import Project
from tests.own_code import TeamFolder
from tests.stages.tables import Pipeline, load, parted, people, rows, settings

pytestmark = pytest.mark.integration
FORMULAS = [
    {"kind": "ratio", "column": "income", "divisor": "age"},
    {"kind": "difference", "column": "income", "minus": "age", "name": "rest"},
    {"kind": "difference", "column": "opened", "minus": "born"},
    {"kind": "log", "column": "income"},
    {"kind": "log1p", "column": "balance"},
    {"kind": "bins", "column": "age", "edges": [18, 30.5, 60]},
    {"kind": "bins", "column": "balance", "count": 4},
]
NAMES = ["income_per_age", "rest", "opened_minus_born", "log_income", "log1p_balance", "age_bin", "balance_bin"]
CITY = """
    import pandas as pd

    class CityIncome:
        \"\"\"Mean income of a city, of the training rows.\"\"\"

        def fit(self, parts):
            whole = pd.concat(part[["city", "income"]] for part in parts)
            return {"cities": whole.groupby("city").income.mean().to_dict(), "rows": len(whole)}

        def transform(self, rows, state):
            return rows.city.map(state["cities"]).rename("city_income")
"""


@pytest.fixture
def team(tmp_path: Path) -> Iterator[TeamFolder]:
    folder = TeamFolder(tmp_path)
    folder.write("team_city.py", CITY)
    fingerprint.code_version.cache_clear()
    yield folder
    folder.forget()


def table() -> pd.DataFrame:
    frame = people().drop(columns="spent")
    balance = np.where(np.arange(len(frame)) % 7 == 0, -1.0, np.arange(len(frame)) % 50 - 3.0)
    return frame.assign(born=frame.opened - pd.to_timedelta(36 * frame.age, "h"), balance=balance)


def fitted(store: Store, *derive: Any, frame: pd.DataFrame | None = None, **options: Any) -> tuple[Any, Any]:
    """Return clean rows and features of a pipeline with these derived features."""
    run = Pipeline(store, settings(features={"derive": list(derive)}, **options))
    clean = run.clean(load(store, *parted(table() if frame is None else frame, 3)))
    return clean, run.fit(clean)


def test_formulas_give_their_values(store: Store) -> None:
    _, featured = fitted(store, *FORMULAS)
    spec = read_spec(store, featured)
    assert transform.names(spec)[-len(NAMES) :] == NAMES
    frame, expected = rows(store, featured), table()
    with np.errstate(all="ignore"):
        values = {
            "income_per_age": expected.income / expected.age,
            "rest": expected.income - expected.age,
            "opened_minus_born": 1.5 * expected.age,
            "log_income": np.log(expected.income),
            "log1p_balance": np.log1p(expected.balance).where(expected.balance > -1),
            "age_bin": pd.cut(expected.age, [-np.inf, 18, 30.5, 60, np.inf], right=False, labels=False),
        }
    for name, column in values.items():
        assert frame[name].tolist() == pytest.approx(column.tolist(), rel=1e-6, nan_ok=True), name
    # Four bins have about equal shares of the training rows.
    shares = frame.balance_bin[~frame["__holdout"].to_numpy(bool)].value_counts(normalize=True)
    assert sorted(shares.index) == [0, 1, 2, 3]
    assert shares.between(0.15, 0.35).all()
    [edges] = [own["formula"]["edges"] for own in spec["derived"] if own["columns"] == ["balance_bin"]]
    assert edges == sorted(edges)
    assert len(edges) == 3


@pytest.mark.parametrize("divisor", [0.0, -0.0])
def test_ratio_by_zero_is_missing(store: Store, divisor: float) -> None:
    frame = table().assign(balance=divisor).assign(balance=lambda rows: rows.balance.where(rows.index % 2 == 0, 5.0))
    _, featured = fitted(store, {"kind": "ratio", "column": "age", "divisor": "balance"}, frame=frame)
    values = rows(store, featured)["age_per_balance"].tolist()
    assert values == pytest.approx(
        [np.nan if at % 2 == 0 else age / 5 for at, age in enumerate(frame.age)], nan_ok=True
    )


def test_batch_and_worker_compute_equal_bits(team: TeamFolder, store: Store) -> None:
    clean, featured = fitted(store, *FORMULAS, "team_city:CityIncome")
    spec = read_spec(store, featured)
    batch = rows(store, featured)[transform.names(spec)].to_numpy("float32")
    _, frame = next(partitions.frames(store, Dataset.load(store, clean)))
    functions = OwnFeatures(spec)
    for part in [slice(None), *(slice(row, row + 1) for row in range(0, len(frame), 5))]:
        wide = worker_rows.to_worker(frame.iloc[part], spec)
        assert worker_rows.from_worker(wide, spec, functions).tobytes() == batch[: len(frame)][part].tobytes()
    # A version computes the same without a training.
    again: Any = feature_engineering.apply(store, clean, spec)
    assert rows(store, again)[transform.names(spec)].to_numpy("float32").tobytes() == batch.tobytes()


def test_state_is_learned_from_the_training_rows_only(team: TeamFolder, store: Store) -> None:
    _, featured = fitted(store, "team_city:CityIncome")
    spec = read_spec(store, featured)
    [own] = spec["derived"]
    frame = rows(store, featured)
    training = table()[~frame["__holdout"].to_numpy(bool)]
    assert own["state"]["rows"] == len(training) == spec["training_rows"]
    means = training.groupby("city").income.mean().to_dict()
    assert own["state"]["cities"] == pytest.approx(means)
    assert frame["CityIncome"].tolist() == pytest.approx(table().city.map(means).tolist(), rel=1e-6)


def test_changed_fit_recomputes_features_and_comment_does_not(team: TeamFolder, store: Store) -> None:
    _, before = fitted(store, "team_city:CityIncome")
    for old, new, is_equal in (("whole = ", "# Why.\n            whole = ", True), (".mean()", ".median()", False)):
        team.write("team_city.py", CITY.replace(old, new))
        fingerprint.code_version.cache_clear()
        assert (fitted(store, "team_city:CityIncome")[1]["fingerprint"] == before["fingerprint"]) is is_equal


@pytest.mark.parametrize(
    ("fit", "problem"),
    [
        ("raise KeyError('city')", "fit raised KeyError: 'city' at {file}:"),
        ("return {'x': float('nan')}", "the result of fit is not JSON: "),
        ("return {'x': {1, 2}}", "the result of fit is not JSON: Object of type set"),
        ("import numpy; return numpy.int64(1)", "a numpy number as float(x) or int(x)"),
        ("return 'x' * 17_000_000", "at most 16,777,216 are kept"),
    ],
)
def test_fit_that_returns_no_small_json_is_refused(team: TeamFolder, store: Store, fit: str, problem: str) -> None:
    transform_line = "    def transform(self, rows, state): return rows.age"
    path = team.write("team_city.py", f"class F:\n    def fit(self, parts):\n        {fit}\n\n{transform_line}\n")
    with pytest.raises(StageError) as error:
        fitted(store, "team_city:F")
    assert str(error.value).startswith("features.derive team_city:F")
    assert problem.format(file=path) in str(error.value)


@pytest.mark.parametrize(
    ("transform_body", "problem"),
    [
        ("state['calls'] = 1; return rows.age", "it changes the state that it gets"),
        ("return rows.age - rows.age.mean()", "must depend on this row only"),
    ],
)
def test_transform_that_breaks_a_rule_is_refused(
    team: TeamFolder, store: Store, transform_body: str, problem: str
) -> None:
    body = "def fit(self, parts): return {}"
    team.write("team_city.py", f"class F:\n    {body}\n\n    def transform(self, rows, state): {transform_body}\n")
    with pytest.raises(StageError, match=problem):
        fitted(store, "team_city:F")


@pytest.mark.parametrize(
    ("formula", "problem"),
    [
        (
            {"kind": "log", "column": "incom"},
            "log of incom: there is no column incom among the features. Name one of age",
        ),
        ({"kind": "log", "column": "bought"}, "there is no column bought among the features"),
        (
            {"kind": "log", "column": "city"},
            "log of city: city is of type category. Name a column of type integer, number",
        ),
        ({"kind": "ratio", "column": "opened", "divisor": "age"}, "opened is of type datetime"),
        ({"kind": "difference", "column": "opened", "minus": "age"}, "only one of them is a date"),
        ({"kind": "log", "column": "age", "name": "income"}, "the feature income has the name of a column"),
    ],
)
def test_formula_of_unsuitable_column_is_refused(store: Store, formula: dict[str, Any], problem: str) -> None:
    with pytest.raises(StageError) as error:
        fitted(store, formula)
    assert problem in str(error.value)


def test_version_with_a_later_definition_is_refused(store: Store) -> None:
    clean, featured = fitted(store, FORMULAS[0])
    spec = json.loads(json.dumps(read_spec(store, featured)).replace("formula-1", "formula-2"))
    with pytest.raises(
        BrokenVersionError, match="ratio of income and age: its code formula-1 is not the code formula-2"
    ):
        feature_engineering.apply(store, clean, spec)


@pytest.mark.parametrize(
    ("derive", "problem"),
    [
        ("[{kind: ratio, column: a}]", "derive.0.divisor: required key is missing"),
        ("[{kind: ratio, column: a, divisor: b, by: c}]", "unknown key"),
        ("[{kind: product, column: a}]", "derive.0.kind: must be 'ratio' or"),
        ("[{column: a}]", "derive.0.kind: required key is missing"),
        ("[{kind: bins, column: a}]", "needs either edges or count"),
        ("[{kind: bins, column: a, edges: [1], count: 2}]", "needs either edges or count"),
        ("[{kind: bins, column: a, edges: [2, 2]}]", "derive.0.edges: must ascend"),
        ("[{kind: log, column: a}, {kind: log, column: a}]", "has log_a twice"),
        ("[5]", "must be text"),
    ],
)
def test_invalid_formula_is_a_problem_of_its_line(tmp_path: Path, derive: str, problem: str) -> None:
    project = Project(tmp_path)
    project.write(
        "p.yaml", f"pipeline: p\ntask: regression\nsource: {{kind: sample}}\ntarget: y\nfeatures:\n  derive: {derive}\n"
    )
    with pytest.raises(Exception, match="problem") as error:
        project.load(tmp_path / "p.yaml")
    assert "1 problem in" in str(error.value)
    assert "p.yaml:6: features.derive" in str(error.value)
    assert problem in str(error.value)
