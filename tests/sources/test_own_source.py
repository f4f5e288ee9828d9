"""Sources of own code: typed rows, one read for each version of rows and code, and errors with file and line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ai_workflow.config.problems import ConfigError
from ai_workflow.config.settings import OwnSource
from ai_workflow.datasets import fingerprint
from ai_workflow.errors import EmptySourceError, StageError, TransientError
from ai_workflow.sources import own_source
from ai_workflow.stages import data_loader
from ai_workflow.storage.store import Store
from tests.config_project import BASE, Project
from tests.own_code import TeamFolder
from tests.sources.loading import load, refused, rows

pytestmark = pytest.mark.integration
MODULE = """
    import datetime, decimal, pathlib
    import numpy as np
    import pandas as pd

    class Warehouse:
        def __init__(self, folder, batch=2):
            self.folder, self.batch = pathlib.Path(folder), batch

        def version(self):
            return (self.folder / "version").read_text()

        def read(self):
            with (self.folder / "reads").open("a") as log:
                log.write("x")
            frame = pd.DataFrame(
                {
                    "id": [3, 1, 2, 4, 5],
                    "name": pd.Categorical(["a", None, "-", "b", " c "]),
                    "paid": [decimal.Decimal("1.10"), decimal.Decimal(2), None, None, None],
                    "seen": pd.to_datetime(["2024-01-01T01:00:00+01:00"] * 5),
                    "born": [datetime.date(2000, 1, 2)] * 5,
                    "ok": pd.array([True, None, False, True, None], dtype="boolean"),
                },
                index=[9, 9, 9, 9, 9],
            )
            for start in range(0, 5, self.batch):
                yield frame.iloc[start : start + self.batch]
"""


@pytest.fixture
def team(tmp_path: Path) -> Iterator[TeamFolder]:
    folder = TeamFolder(tmp_path)
    folder.write("team_sources.py", MODULE)
    folder.write("rows/version", "1")
    fingerprint.code_version.cache_clear()
    yield folder
    folder.forget()


def warehouse(team: TeamFolder, **options: Any) -> OwnSource:
    params = {"folder": str(team.folder / "rows"), **options.pop("params", {})}
    return OwnSource(kind="team_sources:Warehouse", params=params, **options)


def reads(team: TeamFolder) -> int:
    path = team.folder / "rows/reads"
    return len(path.read_text()) if path.exists() else 0


def test_rows_have_the_types_of_their_values(team: TeamFolder, store: Store) -> None:
    source = warehouse(team, missing=("-",), strip=True, drop=("born",))
    dataset = load(store, source)
    assert [(column["name"], column["type"]) for column in dataset.info["columns"]] == [
        ("id", "integer"), ("name", "string"), ("paid", "number"), ("seen", "datetime"), ("ok", "boolean"),
    ]  # fmt: skip
    found = rows(store, source)
    assert [row[:4] for row in found] == [(1, 3, "a", 1.1), (2, 1, None, 2.0), (3, 2, None, None), (4, 4, "b", None),
                                          (5, 5, "c", None)]  # fmt: skip
    assert str(found[0][4]) == "2024-01-01 00:00:00"
    assert {part.source for part in dataset.partitions} == {"team_sources:Warehouse"}


def test_partitions_do_not_depend_on_the_batches(team: TeamFolder, store: Store) -> None:
    loaded = [load(store, warehouse(team, partition_rows=3, params={"batch": batch})) for batch in (1, 2, 5)]
    assert len({tuple(part.sha256 for part in dataset.partitions) for dataset in loaded}) == 1
    assert [part.rows for part in loaded[0].partitions] == [3, 2]


def test_rows_are_read_again_only_if_version_code_or_params_change(team: TeamFolder, store: Store) -> None:
    first = load(store, warehouse(team))
    team.write("team_sources.py", MODULE.replace("def version", "# Cheap.\n        def version"))
    assert (load(store, warehouse(team)), reads(team)) == (first, 1)
    team.write("rows/version", "2")
    assert (load(store, warehouse(team)).partitions, reads(team)) == (first.partitions, 2)
    load(store, warehouse(team, params={"batch": 3}))
    assert reads(team) == 3
    team.write("team_sources.py", MODULE.replace("range(0, 5,", "range(0, 4,"))
    load(store, warehouse(team))
    assert reads(team) == 4


def test_source_without_version_is_read_in_each_run(team: TeamFolder, store: Store) -> None:
    team.write("team_sources.py", MODULE.replace('(self.folder / "version").read_text()', "None"))
    first, second = load(store, warehouse(team)), load(store, warehouse(team))
    assert (first.partitions, reads(team)) == (second.partitions, 2)


def test_failed_read_is_repeated_and_leaves_no_dataset(team: TeamFolder, store: Store) -> None:
    failing = MODULE.replace("yield frame", "assert not start, 'link down'\n                yield frame")
    team.write("team_sources.py", failing)
    text = refused(store, warehouse(team))
    line = next(number for number, line in enumerate(failing.splitlines(), 1) if "link down" in line)
    assert f"read raised AssertionError: link down at {team.folder / 'team_sources.py'}:{line}." in text
    team.forget()
    team = TeamFolder(team.folder)
    team.write("team_sources.py", MODULE)
    assert len(rows(store, warehouse(team))) == 5


def test_error_that_may_pass_keeps_its_type(team: TeamFolder, store: Store) -> None:
    text = "raise TransientError('the warehouse is down', 'Run again')"
    team.write("team_sources.py", f"from ai_workflow import TransientError\n{own('read', text)}")
    with pytest.raises(TransientError, match="the warehouse is down"):
        load(store, OwnSource(kind="team_sources:Own"))


@pytest.mark.parametrize("text", ["return iter(())", "yield pd.DataFrame({'a': []})"])
def test_source_without_rows_is_an_error_unless_accepted(team: TeamFolder, store: Store, text: str) -> None:
    team.write("team_sources.py", f"import pandas as pd\n{own('read', text)}")
    source = OwnSource(kind="team_sources:Own")
    with pytest.raises(EmptySourceError, match="the source has no rows: team_sources:Own"):
        load(store, source)
    loaded = data_loader.load(store, source, data_loader.inspect(source), accept_empty=True)
    assert loaded["message"] == "0 records loaded"


def own(method: str, text: str) -> str:
    """Return the source of a class `Own` whose method has this body."""
    bodies = {"version": "return '1'", "read": "return [pd.DataFrame({'a': [1]})]", method: text}
    return "class Own:\n" + "".join(f"    def {name}(self):\n        {body}\n" for name, body in bodies.items())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (own("version", "return 3"), "{file}:3: version returned 3, not a text"),
        (own("version", "return ''"), "version returned '', not a text"),
        (own("version", "raise SystemExit(1)"), "version raised SystemExit: 1 at {file}:4"),
        (own("read", "return None"), "read raised TypeError: 'NoneType' object is not iterable"),
        (own("read", "return [{'a': 1}]"), "{file}:5: read yielded dict. Yield pandas DataFrames"),
        (own("read", "return pd.DataFrame({'a': [1]})"), "read yielded str. Yield"),
        (own("read", "return [pd.DataFrame({1: [1]})]"), "the column 1 has a name that is no text"),
        (own("read", "return [pd.DataFrame({'__row': [1]})]"), "column '__row' begins with __"),
        (own("read", "return [pd.DataFrame([[1, 2]], columns=['a', 'a'])]"), "more than one column is named 'a'"),
        (own("read", "return [pd.DataFrame({'a': [[1]]})]"), "column 'a' holds list<"),
        (own("read", "return [pd.DataFrame({'a': [1, 'b']})]"), "column 'a' of type object cannot be read"),
        (
            own("read", "return [pd.DataFrame({'a': [1]}), pd.DataFrame({'a': [1], 'b': [2]})]"),
            "the batch from row 2 on has other columns than the first one: b",
        ),
        ("class Own:\n    def read(self): ...", "in {file} is no source: it has no method version"),
        ("Own = 3", "is int, not a class"),
        ("def Own(): ...", "is function, not a class"),
        (
            "class Own:\n    def __init__(self): 1 / 0\n    version = read = print",
            "the constructor raised ZeroDivision",
        ),
        (
            "class Own:\n    def __init__(self, table): ...\n    version = read = print",
            " at {file}:3 does not accept source.params: missing a required argument: 'table'",
        ),
        ("import absent_package\nclass Own: ...", "the import needs the module absent_package, which is not installed"),
    ],
)
def test_source_that_breaks_a_rule_is_an_error(team: TeamFolder, store: Store, text: str, said: str) -> None:
    file = team.write("wrong.py", f"import pandas as pd\n{text}")
    found = refused(store, OwnSource(kind="wrong:Own"))
    assert found.startswith("source.kind wrong:Own")
    assert said.format(file=file) in found


def test_check_returns_the_code_of_own_sources_only(team: TeamFolder) -> None:
    assert own_source.check(warehouse(team)) == ("team_sources",)
    with pytest.raises(StageError, match=r"does not accept source.params: got an unexpected keyword argument 'tabel'"):
        own_source.check(warehouse(team, params={"tabel": "x"}))


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("{kind: cvs, path: a}", "mine.yaml:5: source.kind: unknown name 'cvs'; did you mean 'csv'? known: csv"),
        ("{kind: 'absent:W'}", "mine.yaml:5: source.kind: absent:W: there is no module absent in "),
        ("{kind: 'mine:V'}", "mine.py does not define V; it defines W"),
        ("{kind: 'mine:W', table: x}", "mine.yaml:5: source.table: unknown key; known here: decimal"),
        ("{kind: 'mine:W', params: 3}", "mine.yaml:5: source.params: must be a mapping of keys"),
        ("{kind: 3}", "source.kind: unknown name '3'"),
    ],
)  # fmt: skip
def test_wrong_source_is_reported_at_load(tmp_path: Path, source: str, said: str) -> None:
    project = Project(tmp_path / "project")
    project.write("mine.py", "class W: ...\n")
    path = project.write("mine.yaml", f"{BASE.replace('source: {kind: sample, name: iris}', '')}source: {source}\n")
    with pytest.raises(ConfigError) as raised:
        project.load(path)
    assert said in str(raised.value)


def test_settings_take_own_sources_of_rows_scoring_and_labels(tmp_path: Path) -> None:
    project = Project(tmp_path / "project")
    project.write("mine.py", "class W: ...\n")
    own = "{kind: 'mine:W', params: {table: x}, missing: ['-']}"
    text = f"source: {own}\ninference: {{source: {own}}}\nevaluation: {{source: {own}}}\n"
    base = BASE.replace("source: {kind: sample, name: iris}\n", "")
    settings = project.load(project.write("mine.yaml", base + text)).settings
    expected = OwnSource(kind="mine:W", params={"table": "x"}, missing=("-",))
    assert settings.source == settings.inference.source == settings.evaluation.source == expected
