"""Stages of a team's own code after the loader: rows in, rows out, with their numbers, types and cache."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ai_workflow.config.settings import AddedStage
from ai_workflow.datasets import fingerprint, partitions
from ai_workflow.datasets.partitions import Dataset
from ai_workflow.errors import EmptySourceError, StageError
from ai_workflow.orchestration import stage_task
from ai_workflow.stage_names import name_of
from ai_workflow.stages import added_stage, data_loader, preprocessor
from ai_workflow.storage.store import Store
from tests.own_code import TeamFolder
from tests.sources.loading import csv
from tests.stages.tables import load, parted, people, rows, settings

pytestmark = pytest.mark.integration
MODULE = """
    import pandas as pd

    def adults(rows, age=30, cities=None):
        with open({log!r}, "a") as log:
            log.write("x")
        return rows[rows.age >= age].assign(decade=rows.age // 10)
"""
JOIN = """
    import pandas as pd

    class JoinCities:
        def __init__(self, cities):
            self.cities = pd.read_csv(cities)

        def __call__(self, rows):
            return rows.merge(self.cities, on="city", how="left")
"""


@pytest.fixture
def team(tmp_path: Path) -> Iterator[TeamFolder]:
    folder = TeamFolder(tmp_path)
    folder.write("cleaning.py", MODULE.format(log=str(tmp_path / "calls")))
    fingerprint.code_version.cache_clear()
    yield folder
    folder.forget()


def calls(team: TeamFolder) -> int:
    path = team.folder / "calls"
    return len(path.read_text()) if path.exists() else 0


def run(store: Store, loaded: Any, stage: AddedStage | dict[str, Any] | str, **options: Any) -> Any:
    added = AddedStage.model_validate(stage)
    rules = added_stage.AddedStageOptions(stage=added)
    return added_stage.of(added)(store, loaded, rules, added_stage.inspect(added), **options)


def run_text(team: TeamFolder, store: Store, loaded: Any, text: str) -> Any:
    """Run the function `stage` of a module with this text."""
    team.write("own.py", f"import pandas as pd\n{text}\n")
    return run(store, loaded, "own:stage")


def test_dropped_rows_are_counted_and_others_keep_their_numbers(team: TeamFolder, store: Store) -> None:
    table = people(60)
    result = run(store, load(store, *parted(table, 3)), "cleaning:adults")
    kept = table[table.age >= 30]
    assert (result["rows"], result["dropped"]) == (len(kept), 60 - len(kept))
    assert result["message"] == f"{len(kept)} records kept, {60 - len(kept)} dropped"
    found = rows(store, result)
    assert found[partitions.ROW].tolist() == [number + 1 for number in kept.index]
    assert found.decade.tolist() == (kept.age // 10).tolist()
    assert {part.source for part in Dataset.load(store, result).partitions} == {"rows.csv"}
    again = run(store, result, {"kind": "cleaning:adults", "params": {"age": 40}})
    clean = preprocessor.preprocess(store, again, preprocessor.RowRules.of(settings()))
    assert Dataset.load(store, clean).info["stages"] == {"adults": result["rows"] - again["rows"]}
    columns = {column["name"]: column["type"] for column in Dataset.load(store, result).info["columns"]}
    assert columns == {"person": "string", "age": "integer", "city": "string", "income": "number", "opened": "datetime",
                       "member": "boolean", "bought": "string", "spent": "number", "decade": "integer"}  # fmt: skip


def test_class_joins_a_file_whose_content_is_in_the_cache_key(team: TeamFolder, store: Store) -> None:
    team.write("joins.py", JOIN)
    file = team.write("cities.csv", "city,size\nAachen,3\nBonn,4\n")
    loaded = load(store, *parted(people(40), 2))
    stage = AddedStage(kind="joins:JoinCities", files={"cities": str(file)})
    sizes = {"Aachen": 3, "Bonn": 4}

    def found() -> list[Any]:
        table = rows(store, run(store, loaded, stage))
        assert table[partitions.ROW].tolist() == list(range(1, 41))
        joined = table["size"].astype(object).where(table["size"].notna(), None)
        return [sizes.get(city) == size for city, size in zip(table.city, joined, strict=True)]

    assert all(found())
    file.write_text("city,size\nAachen,5\nBonn,4\n")
    sizes["Aachen"] = 5
    assert all(found())


def test_partitions_are_computed_once_for_each_code_and_option(team: TeamFolder, store: Store) -> None:
    frames = parted(people(60), 3)
    first = run(store, load(store, *frames[:2]), "cleaning:adults")
    # The check of the first rows takes three calls, and each partition one.
    assert calls(team) == 3 + 2
    assert run(store, load(store, *frames[:2]), "cleaning:adults") == first
    assert calls(team) == 5
    run(store, load(store, *frames), "cleaning:adults")
    assert calls(team) == 5 + 3 + 1
    text = MODULE.format(log=str(team.folder / "calls"))
    team.write("cleaning.py", text.replace("with open", "# Reviewed.\n        with open"))
    run(store, load(store, *frames), "cleaning:adults")
    assert calls(team) == 9
    run(store, load(store, *frames), {"kind": "cleaning:adults", "params": {"age": 40}})
    assert calls(team) == 9 + 6
    team.write("cleaning.py", text.replace("// 10", "// 5"))
    run(store, load(store, *frames), "cleaning:adults")
    assert calls(team) == 15 + 6


def test_task_key_has_name_code_params_and_content_of_files_but_no_path(team: TeamFolder) -> None:
    def key(path: str, digest: str, **params: Any) -> str:
        added = AddedStage(kind="cleaning:adults", params=params, files={"cities": path})
        files = [{"name": "cities", "path": path, "sha256": digest, "bytes": 3}]
        loaded = {"fingerprint": "f"}
        options = added_stage.AddedStageOptions(stage=added)
        return stage_task.key(added_stage.of(added), (loaded, options, files), added_stage.check([added])[added.name])

    first = key("/a/x.csv", "1")
    assert first.startswith("adults/")
    assert key("/b/y.csv", "1") == first
    others = [key("/a/x.csv", "2"), key("/a/x.csv", "1", age=3)]
    fingerprint.code_version.cache_clear()
    team.write("cleaning.py", "def adults(rows, age=1, cities=1): return rows")
    assert len({first, *others, key("/a/x.csv", "1")}) == 4


def test_explicit_version_wins_over_the_code(team: TeamFolder, store: Store) -> None:
    loaded = load(store, people(20))
    text = MODULE.format(log=str(team.folder / "calls"))
    team.write("cleaning.py", f"{text}\n    adults.version = '1'\n")
    run(store, loaded, "cleaning:adults")
    before = calls(team)
    team.write("cleaning.py", f"{text.replace('30', '31')}\n    adults.version = '1'\n")
    run(store, loaded, "cleaning:adults")
    assert calls(team) == before
    team.write("cleaning.py", f"{text}\n    adults.version = '2'\n")
    run(store, loaded, "cleaning:adults")
    assert calls(team) > before


def test_cells_of_text_files_are_texts_and_missing_ones_are_null(
    team: TeamFolder, store: Store, tmp_path: Path
) -> None:
    lines = [f"{number},{'?' if number % 3 else ' x'},{number}.5" for number in range(6000)]
    path = team.write("rows.csv", "a,b,c\n" + "\n".join(lines) + "\n")
    found = []
    for keep_copy in (True, False):
        source = csv(path, missing=("?",), strip=True, keep_copy=keep_copy)
        loaded = data_loader.load(store, source, data_loader.inspect(source))
        text = "def stage(rows):\n    return rows.assign(gap=rows.b.isna(), kind=rows.c.map(type).astype(str))"
        table = rows(store, run_text(team, store, loaded, text))
        assert table.gap.tolist() == [bool(number % 3) for number in range(6000)]
        assert set(table.kind) == {"<class 'str'>"}
        found.append(table)
    assert found[0].equals(found[1])


def test_missing_values_of_the_source_are_missing_in_the_result(team: TeamFolder, store: Store) -> None:
    team.write(
        "own.py", "def stage(rows): return rows.assign(new=[['?', ' a ', ''][int(x[1:]) % 3] for x in rows.person])"
    )
    added = AddedStage(kind="own:stage")
    options = added_stage.AddedStageOptions(stage=added, missing=("?",), strip=True)
    result: Any = added_stage.of(added)(store, load(store, people(12)), options, [])
    assert rows(store, result).new.fillna("missing").tolist() == ["missing", "a", "missing"] * 4


def test_column_has_one_type_in_all_partitions(team: TeamFolder, store: Store) -> None:
    loaded = load(store, *parted(people(30), 3))
    text = """
def stage(rows):
    numbers = [int(person[1:]) for person in rows.person]
    return rows.assign(new=[None if number < 10 else number if number < 20 else number / 2 for number in numbers])
"""
    dataset = Dataset.load(store, run_text(team, store, loaded, text))
    tables = [partitions.table(store, part) for part in dataset.partitions]
    assert {str(table.schema.field("new").type) for table in tables} == {"double"}
    assert {column["name"]: column["type"] for column in dataset.info["columns"]}["new"] == "number"


def test_rows_of_several_files_keep_their_file(team: TeamFolder, store: Store) -> None:
    for number in range(20):
        team.write(f"files/{number:02d}.csv", "a,b\n" + "".join(f"{row},{number}\n" for row in range(3)))
    source = csv(team.folder / "files")
    loaded = data_loader.load(store, source, data_loader.inspect(source))
    result = run_text(team, store, loaded, "def stage(rows): return rows[rows.a != '1'].sort_values('a')")
    found = rows(store, result)
    expected = [(f"{number:02d}.csv", row) for number in range(20) for row in (2, 4)]
    assert list(zip(found[partitions.SOURCE], found[partitions.ROW], strict=True)) == expected


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("def stage(rows): return 3", "own.py:3: it returned int. Return a pandas DataFrame"),
        ("def stage(rows): 1 / 0", "the function raised ZeroDivisionError: division by zero at {file}:3"),
        ("def stage(rows): return rows.drop(columns='__row')", "it returned rows without the column __row"),
        ("def stage(rows): return pd.concat([rows, rows])", "it returned row 1 of rows.csv 2 times"),
        (
            "def stage(rows): return rows.merge(pd.DataFrame({'age': [-1]}), how='outer')",
            "it returned rows that it did not get",
        ),
        ("def stage(rows): return rows.assign(__row='x')", "it returned rows that it did not get"),
        ("def stage(rows): return rows.assign(__row=rows['__row'] + 1)", "it returned rows that it did not get"),
        ("def stage(rows): return rows.assign(__new=1)", "column '__new' begins with __"),
        ("def stage(rows): return rows.rename(columns={'age': 7})", "the column 7 has a name that is no text"),
        ("def stage(rows): return rows.rename(columns={'age': 'city'})", "more than one column is named 'city'"),
        ("def stage(rows): return rows.assign(new=[[1]] * len(rows))", "column 'new' holds list<"),
        ("def stage(rows): return rows.assign(new=[1, 'b'] * 6)", "column 'new' of type object cannot be read"),
        ("def stage(rows): return rows[['__row']]", "it returned no columns"),
        ("def stage(rows, other): return rows", "does not accept the arguments (rows): missing a required argument"),
        ("def stage(): return 1", "does not accept the arguments (rows): too many positional arguments"),
        ("stage = 3", "is int, neither a function nor a class"),
        ("import absent_package\ndef stage(rows): ...", "the import needs the module absent_package, which is not"),
        ("class stage: ...", "has no method __call__"),
        (
            "class stage:\n    def __init__(self): 1 / 0\n    def __call__(self, rows): return rows",
            "the constructor raised ZeroDivisionError",
        ),
        ("def stage(rows): return rows[rows.age > 100]", "own:stage dropped all 12 rows"),
        (
            "def stage(rows): return rows.assign(mean=rows.age.mean())",
            "own:stage: mean of row 1 of rows.csv is 47.75 among other rows, and 50.6",
        ),
        ("def stage(rows): return rows.drop_duplicates('city')", "row 7 of rows.csv is dropped among other rows, and"),
        (
            "def stage(rows): return rows.assign(**{f'c_{rows.age.iloc[0]}': 1})",
            "it returned other columns if it gets fewer rows at once: c_",
        ),
        ("import random\ndef stage(rows): return rows.assign(new=random.random())", "new of row 1 of rows.csv is"),
    ],
)  # fmt: skip
def test_stage_that_breaks_a_rule_is_an_error(team: TeamFolder, store: Store, text: str, said: str) -> None:
    loaded = load(store, people(12))
    before = store.names("data/datasets")
    with pytest.raises(StageError) as caught:
        run_text(team, store, loaded, f"\n{text}")
    assert str(caught.value).startswith("stages.after.data_loader own:stage")
    assert said.format(file=team.folder / "own.py") in str(caught.value)
    assert caught.value.remedy
    assert store.names("data/datasets") == before


def test_check_finds_wrong_code_before_the_first_stage(team: TeamFolder) -> None:
    assert added_stage.check([AddedStage(kind="cleaning:adults")]) == {"adults": ("cleaning",)}
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"params": {"agee": 3}}, "does not accept the arguments (rows, agee)"),
        ({"files": {"city": "x.csv"}}, "does not accept the arguments (rows, city)"),
    ]
    for options, said in wrong:
        with pytest.raises(StageError) as caught:
            added_stage.check([AddedStage.model_validate({"kind": "cleaning:adults", **options})])
        assert said in str(caught.value)
        assert "cleaning.py:4" in str(caught.value)


def test_interrupted_stage_computes_only_missing_partitions_and_ends_with_the_same_files(
    team: TeamFolder, tmp_path: Path
) -> None:
    fault = team.folder / "fault"
    team.write(
        "own.py",
        f"""
        import pathlib

        def stage(rows):
            if "p00045" in set(rows.person) and pathlib.Path({str(fault)!r}).exists():
                raise KeyboardInterrupt
            with open({str(team.folder / "calls")!r}, "a") as log:
                log.write("x")
            return rows.assign(new=[None if person < "p00020" else 1.5 for person in rows.person])
        """,
    )
    roots = tmp_path / "reference", tmp_path / "interrupted"
    stores = [Store(root) for root in roots]
    frames = parted(people(60), 3)
    run(stores[0], load(stores[0], *frames), "own:stage")
    fault.touch()
    loaded = load(stores[1], *frames)
    with pytest.raises(KeyboardInterrupt):
        run(stores[1], loaded, "own:stage")
    fault.unlink()
    before = calls(team)
    run(stores[1], loaded, "own:stage")
    assert calls(team) == before + 3 + 1
    reference, interrupted = (
        {path.relative_to(root): path.read_bytes() for path in root.rglob("*") if path.is_file()} for root in roots
    )
    assert interrupted == reference


@pytest.mark.parametrize("argument", ["rows", "parts"])
def test_rows_made_while_a_file_changes_are_not_recorded(
    team: TeamFolder, store: Store, tmp_path: Path, argument: str
) -> None:
    file = team.write("number.txt", "1")
    text = f"""
        def stage({argument}, path):
            with open(path) as file:
                number = int(file.read())
            with open(path, "w") as file:
                file.write("2")
            {"return" if argument == "rows" else "yield"} ROWS.assign(new=number)
        """
    team.write("own.py", text.replace("ROWS", "rows" if argument == "rows" else "next(iter(parts))"))
    loaded = load(store, people(1))
    stage = AddedStage(kind="own:stage", files={"path": str(file)})
    with pytest.raises(StageError, match=r"one of its files changed while it was read\. Run again"):
        run(store, loaded, stage)
    assert rows(store, run(store, loaded, stage)).new.tolist() == [2]
    file.write_text("1")
    with pytest.raises(StageError, match="one of its files changed"):
        run(store, loaded, stage)


def test_missing_file_of_a_stage_is_an_error(team: TeamFolder, tmp_path: Path) -> None:
    added = AddedStage(kind="joins:JoinCities", files={"cities": str(tmp_path / "absent.csv")})
    with pytest.raises(StageError, match=r"absent.csv"):
        added_stage.inspect(added)


def test_scoring_may_have_no_rows_before_or_after_a_stage(team: TeamFolder, store: Store) -> None:
    (team.folder / "none.csv").write_text("age,city\n")
    source = csv(team.folder / "none.csv")
    loaded = data_loader.load(store, source, data_loader.inspect(source), accept_empty=True)
    text = "def stage(rows): return rows.assign(new=rows.age.astype('Int64') // 2)[rows.age.astype('Int64') > 100]"
    team.write("own.py", text)
    for before in (loaded, load(store, people(12))):
        result = run(store, before, "own:stage", accept_empty=True)
        assert result["rows"] == 0
        assert "new" in [column["name"] for column in Dataset.load(store, result).info["columns"]]
        with pytest.raises(EmptySourceError):
            run(store, before, "own:stage")


def test_stage_has_the_name_of_its_function_or_class_in_lower_case() -> None:
    works = [added_stage.of(AddedStage(kind=f"credit.cleaning:{name}")) for name in ("first", "JoinBureau")]
    assert [name_of(work) for work in works] == ["first", "join_bureau"]


COUNTS = """
from collections import Counter

def stage(parts):
    counts = Counter()
    for rows in parts:
        counts.update(rows.city)
    for rows in parts:
        yield rows.assign(neighbours=rows.city.map(counts))[rows.age > 30]
"""


def test_stage_of_all_rows_keeps_their_numbers_and_files(team: TeamFolder, store: Store) -> None:
    table = people(60)
    loaded = load(store, *parted(table, 3), sources=("a.csv", "a.csv", "b.csv"))
    result = run_text(team, store, loaded, COUNTS)
    kept = table[table.age > 30]
    assert (result["rows"], result["dropped"]) == (len(kept), 60 - len(kept))
    found = rows(store, result)
    assert found.neighbours.tolist() == table.city.map(table.city.value_counts())[kept.index].tolist()
    expected = [("a.csv", number + 1) if number < 40 else ("b.csv", number - 39) for number in kept.index]
    assert list(zip(found[partitions.SOURCE], found[partitions.ROW], strict=True)) == expected
    clean = preprocessor.preprocess(store, result, preprocessor.RowRules.of(settings(id=None, deduplicate="none")))
    assert rows(store, clean)[partitions.ID].tolist() == [f"{file}:{row}" for file, row in expected]


def test_stage_of_all_rows_makes_new_rows_and_runs_once(team: TeamFolder, store: Store) -> None:
    log = team.folder / "calls"
    text = f"""
def stage(parts):
    with open({str(log)!r}, "a") as log:
        log.write("x")
    cities = pd.concat(parts).groupby("city")
    return cities.agg(income=("income", "mean"), people=("age", "size")).reset_index()
"""
    table = people(60)
    loaded = load(store, *parted(table, 3))
    result = run_text(team, store, loaded, text)
    assert (result["message"], result["dropped"]) == ("4 records made of 60", 0)
    found = rows(store, result)
    assert found[partitions.ROW].tolist() == [1, 2, 3, 4]
    assert found.people.tolist() == table.groupby("city").size().tolist()
    assert run(store, loaded, "own:stage") == result
    assert calls(team) == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("def stage(parts): return 3", "the function raised TypeError: 'int' object is not iterable"),
        ("def stage(parts): yield 3", "it returned int. Return a pandas DataFrame"),
        ("def stage(parts):\n    yield from parts\n    1 / 0", "the function raised ZeroDivisionError"),
        ("def stage(parts): return iter(())", "it returned no table. Yield one"),
        ("def stage(parts): return [*parts, *parts]", "it returned row 1 of rows.csv in two tables"),
        ("def stage(parts): return (rows.head(0) for rows in parts)", "own:stage dropped all 12 rows"),
        (
            "def stage(parts):\n    yield from parts\n    yield pd.DataFrame({'a': [1]})",
            "some of its tables have the column __row, and others do not",
        ),
        ("def stage(parts, days): return parts", "does not accept the arguments (parts): missing a required argument"),
    ],
)  # fmt: skip
def test_stage_of_all_rows_that_breaks_a_rule_is_an_error(team: TeamFolder, store: Store, text: str, said: str) -> None:
    with pytest.raises(StageError) as caught:
        run_text(team, store, load(store, *parted(people(12), 2)), text)
    assert said in str(caught.value)


def test_scoring_without_rows_gives_a_stage_of_all_rows_one_empty_part(team: TeamFolder, store: Store) -> None:
    (team.folder / "none.csv").write_text("age,city\n")
    source = csv(team.folder / "none.csv")
    loaded = data_loader.load(store, source, data_loader.inspect(source), accept_empty=True)
    team.write("own.py", "def stage(parts): return (rows.assign(new=1) for rows in parts)")
    result = run(store, loaded, "own:stage", accept_empty=True)
    assert [column["name"] for column in Dataset.load(store, result).info["columns"]] == ["age", "city", "new"]
