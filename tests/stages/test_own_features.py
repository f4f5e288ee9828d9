"""Feature functions: equal values in training, scoring and the worker; refusal of functions that break a rule."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ai_workflow.datasets import fingerprint, partitions
from ai_workflow.datasets.partitions import Dataset
from ai_workflow.errors import BrokenVersionError, StageError
from ai_workflow.features import own_features, transform, worker_rows
from ai_workflow.features.own_features import OwnFeatures
from ai_workflow.features.row_encoder import Encoder
from ai_workflow.stages import feature_engineering
from ai_workflow.stages.feature_engineering import read_spec
from ai_workflow.storage.store import Store
from tests.own_code import TeamFolder
from tests.stages.tables import Pipeline, load, parted, people, rows, settings

pytestmark = pytest.mark.integration
GOOD = """
    import numpy as np
    import pandas as pd

    def income_ratio(rows):
        return rows.income / rows.age

    def kinds(rows):
        assert list(rows.columns) == ["age", "city", "income", "member", "opened"]
        print("noise")
        age = pd.cut(rows.age, [0, 30, 60, 200], labels=["young", "middle", "old"])
        city = np.where(rows.city.isna(), None, rows.city.str[:1] + rows.opened.dt.month.astype(str))
        member = rows.member.fillna(False)
        return pd.DataFrame({"age_group": age, "city_month": city, "is_member": member})
"""
PATHS = ("team_features:income_ratio", "team_features:kinds")


@pytest.fixture
def team(tmp_path: Path) -> Iterator[TeamFolder]:
    folder = TeamFolder(tmp_path)
    folder.write("team_features.py", GOOD)
    fingerprint.code_version.cache_clear()
    yield folder
    folder.forget()


@pytest.fixture
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store(tmp_path_factory.mktemp("var"))


def fitted(store: Store, *paths: str) -> tuple[Any, Any]:
    """Return clean rows and the features of a pipeline with these functions."""
    run = Pipeline(store, settings(features={"derive": list(paths)}, schema={"spent": {"drop": True}}))
    frame = people().drop(columns="spent")
    clean = run.clean(load(store, *parted(frame, 3)))
    return clean, run.fit(clean)


def test_functions_add_numbers_and_categories_to_the_features(team: TeamFolder, store: Store) -> None:
    _, featured = fitted(store, *PATHS)
    spec = read_spec(store, featured)
    assert transform.names(spec)[-4:] == ["income_ratio", "age_group", "city_month", "is_member"]
    frame = rows(store, featured)
    own = [feature for feature in spec["features"] if feature.get("derived")]
    assert [feature["kind"] for feature in own] == ["number", "category", "category", "number"]
    assert sorted(own[1]["vocabulary"]) == ["middle", "old", "young"]
    ratio = people().income / people().age
    assert frame["income_ratio"].tolist() == pytest.approx(ratio.tolist(), nan_ok=True, rel=1e-6)
    assert [function["columns"] for function in spec["derived"]] == [
        [name["name"] for name in own[:1]],
        transform.names(spec)[-3:],
    ]


def test_batch_and_worker_compute_equal_bits(team: TeamFolder, store: Store) -> None:
    clean, featured = fitted(store, *PATHS)
    spec = read_spec(store, featured)
    batch = rows(store, featured)[transform.names(spec)].to_numpy("float32")
    _, frame = next(partitions.frames(store, Dataset.load(store, clean)))
    functions = OwnFeatures(spec)

    def through_worker(part: pd.DataFrame) -> np.ndarray:
        wide = worker_rows.to_worker(part, spec)
        assert wide.shape == (len(part), worker_rows.width(spec))
        return worker_rows.from_worker(wide, spec, functions)

    assert through_worker(frame).tobytes() == batch[: len(frame)].tobytes()
    for row in range(0, len(frame), 7):
        assert through_worker(frame.iloc[row : row + 1]).tobytes() == batch[row : row + 1].tobytes()
    assert transform.transform(frame, spec).tobytes() == batch[: len(frame)].tobytes()


def test_request_rows_reach_the_worker_with_equal_bits(team: TeamFolder, store: Store) -> None:
    _, featured = fitted(store, *PATHS)
    spec = read_spec(store, featured)
    encoder, functions = Encoder(spec, ""), OwnFeatures(spec)
    table = people().head(20)
    sent = [
        {
            "age": int(row.age), "city": row.city, "opened": row.opened.isoformat(), "member": bool(row.member),
            "income": None if pd.isna(row.income) else float(row.income),
        }
        for row in table.itertuples()
    ]  # fmt: skip
    assert encoder.encode_fast(sent) is None
    wide = np.frombuffer(encoder.encode_checked(sent), np.float32).reshape(20, encoder.width)
    batch = rows(store, featured)[transform.names(spec)].to_numpy("float32")[:20]
    assert worker_rows.from_worker(wide, spec, functions).tobytes() == batch.tobytes()


def test_unseen_and_missing_values_reach_the_functions_as_missing(team: TeamFolder, store: Store) -> None:
    _, featured = fitted(store, *PATHS)
    spec = read_spec(store, featured)
    empty = pd.DataFrame(
        {
            "age": pd.Series([None], dtype="Int64"), "city": ["Zürich"], "income": [np.nan],
            "opened": pd.Series([None], dtype="datetime64[us]"), "member": pd.Series([None], dtype="boolean"),
        }
    )  # fmt: skip
    x = transform.transform(empty, spec)[0]
    named = dict(zip(transform.names(spec), x.tolist(), strict=True))
    assert np.isnan([named["income_ratio"], named["age_group"], named["city_month"]]).all()
    assert named["is_member"] == 0


@pytest.mark.parametrize("kind", ["time", "group", "file", "stratified"])
def test_vocabulary_is_that_of_the_training_rows_of_any_split(team: TeamFolder, store: Store, kind: str) -> None:
    own = {"group": {"column": "city"}, "file": {"files": ["b.csv"]}}.get(kind, {})
    options = {"timestamp": "opened", "evaluate": {"split": {"kind": kind, **own}}, "features": {"derive": [PATHS[0]]}}
    run = Pipeline(store, settings(**options, schema={"spent": {"drop": True}, "opened": {"type": "datetime"}}))
    sources = ("a.csv", "b.csv", "a.csv")
    clean = run.clean(load(store, *parted(people().drop(columns="spent"), 3), sources=sources))
    team.write("team_features.py", "def income_ratio(rows): return rows.age.astype('Int64').astype('string')")
    featured = run.fit(clean)
    spec = read_spec(store, featured)
    frame = rows(store, featured)
    ages = people().age.astype(str)[~frame["__holdout"].to_numpy(bool)]
    assert sorted(spec["features"][-1]["vocabulary"]) == sorted(ages.unique())


def failure(team: TeamFolder, store: Store, text: str, path: str = "team_features:f") -> str:
    team.write("team_features.py", f"import numpy as np\nimport pandas as pd\n{text}\n")
    with pytest.raises(StageError) as raised:
        fitted(store, path)
    assert str(raised.value).startswith(f"features.derive {path}")
    return str(raised.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "def f(rows):\n    return rows.agee",
            "the function raised AttributeError: 'DataFrame' object has no attribute",
        ),
        ("def f(rows):\n    raise SystemExit(2)", "the function raised SystemExit: 2 at {file}:4. Correct the code"),
        ("def f(rows): return rows.age.to_numpy()", "it returned ndarray. Return a pandas Series or DataFrame"),
        ("def f(rows): return None", "it returned NoneType"),
        ("def f(rows): return rows.age.head(3)", "it returned 3 rows for 134 rows. Return one for each row"),
        ("def f(rows): return rows.age.sort_values()", "the index of its result is not that of its rows"),
        ("def f(rows): return rows[[]]", "it returned the columns none. Give each column a text of its own"),
        ("def f(rows): return pd.DataFrame({1: rows.age})", "it returned the columns 1"),
        ("def f(rows): return rows.opened", "it returned values of type datetime64[us]. Return numbers, booleans or"),
        ("def f(rows): return rows.age.map(lambda a: [a])", "it returned list among texts"),
        (
            "def f(rows):\n    rows['x'] = 1\n    return rows.age",
            "it changes the rows that it gets. Begin with rows = ro",
        ),
        (
            "def f(rows): return pd.DataFrame({'age': rows.age})",
            "the feature age has the name of a column or of another",
        ),
        ("def f(rows): return pd.DataFrame({'bought': rows.age})", "the feature bought has the name of a column"),
        ("def f(rows): return rows.age - rows.age.mean()", "without the other rows. The result for a row must depend"),
        ("def f(rows): return rows.age.shift(1)", "if the rows are in another order"),
        ("def f(rows): return rows.age * np.random.rand(len(rows))", "in a second call with the same rows"),
        ("def f(rows): return pd.get_dummies(rows.city)", "for some rows, and"),
        ("def f(rows): return rows.city.fillna('x').astype('category').cat.codes", "among other rows, and"),
        ("def f(rows): return rows.age.astype(int)", "at {file}:3, for a row without values. A request may have null"),
        ("class f: pass", "is f, neither a function nor an object with fit and transform. Name a function"),
        (
            "class f:\n    def fit(self, parts): return 1",
            "is f, neither a function nor an object with fit and transform",
        ),
        ("class f:\n    def __init__(self): raise ValueError('no')", "the class raised ValueError: no at {file}:4"),
        ("f = 5", "is int, neither a function"),
        ("import not_there_at_all\ndef f(rows): return rows.age", "needs the module not_there_at_all, which is not in"),
    ],
)
def test_function_that_breaks_a_rule_is_refused(team: TeamFolder, store: Store, text: str, said: str) -> None:
    assert said.format(file=team.folder / "team_features.py") in failure(team, store, text)


def test_target_and_id_are_not_among_the_rows_of_a_function(team: TeamFolder, store: Store) -> None:
    for name in ("bought", "person"):
        assert f"no attribute '{name}'" in failure(team, store, f"def f(rows): return rows.{name}")
        team.forget()
        TeamFolder(team.folder)


def test_comment_in_a_function_recomputes_nothing_and_code_recomputes_features(team: TeamFolder, store: Store) -> None:
    _, before = fitted(store, *PATHS)
    team.write("team_features.py", GOOD.replace("return rows.income", "# Why.\n        return rows.income"))
    fingerprint.code_version.cache_clear()
    assert fitted(store, *PATHS)[1]["fingerprint"] == before["fingerprint"]
    team.write("team_features.py", GOOD.replace("rows.income / rows.age", "rows.income / rows.age * 2"))
    fingerprint.code_version.cache_clear()
    assert own_features.references(PATHS) == ("team_features",)
    assert fitted(store, *PATHS)[1]["fingerprint"] != before["fingerprint"]


def test_scoring_refuses_a_version_whose_function_has_other_code_or_is_missing(team: TeamFolder, store: Store) -> None:
    clean, featured = fitted(store, *PATHS)
    spec = read_spec(store, featured)
    feature_engineering.apply(store, clean, spec)
    path = team.write("team_features.py", GOOD.replace("rows.income / rows.age", "rows.income"))
    with pytest.raises(BrokenVersionError, match=r"is not the code \w+ that the version was trained with. Train again"):
        feature_engineering.apply(store, clean, spec)
    path.unlink()
    team.forget()
    with pytest.raises(BrokenVersionError, match="there is no module team_features"):
        feature_engineering.apply(store, clean, spec)


def test_explicit_version_of_a_function_wins_over_its_code(team: TeamFolder, store: Store) -> None:
    team.write("team_features.py", "def f(rows):\n    return rows.age\n\nf.version = '1'\n")
    clean, featured = fitted(store, "team_features:f")
    team.write("team_features.py", "def f(rows):\n    return rows.age + 0\n\nf.version = '1'\n")
    feature_engineering.apply(store, clean, read_spec(store, featured))
    team.write("team_features.py", "def f(rows):\n    return rows.age\n\nf.version = '2'\n")
    with pytest.raises(BrokenVersionError, match="trained with"):
        feature_engineering.apply(store, clean, read_spec(store, featured))
