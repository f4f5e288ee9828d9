"""Every bad input ends the run with one clear error, at the stage that found it, and leaves nothing half done."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from ai_workflow.telemetry import journal
from tests.flows import sample_tables
from tests.flows.workspace import Run, Workplace
from tests.services import Postgres, free_port

pytestmark = pytest.mark.slow

HEADER = ",".join(sample_tables.HEADER)
Rows = list[list[Any]]


@dataclass(frozen=True)
class Case:
    """A bad input: what is in the file, how the pipeline differs, who finds it, and what the error must name."""

    stage: str
    says: tuple[str, ...]
    data: bytes | Callable[[Rows], Rows] | None = None
    header: tuple[str, ...] = sample_tables.HEADER
    settings: dict[str, Any] = field(default_factory=dict)

    def write(self, path: Path) -> None:
        if isinstance(self.data, bytes):
            path.write_bytes(self.data)
        elif self.data is not None:
            sample_tables.write(path, self.data(sample_tables.rows(seed=9)), self.header)


def _column(name: str, value: Callable[[int], Any]) -> Callable[[Rows], Rows]:
    """Return what puts other values into a column; `value` gets the number of the row, from 0."""
    at = sample_tables.HEADER.index(name)
    return lambda rows: [[*row[:at], value(number), *row[at + 1 :]] for number, row in enumerate(rows)]


def _as_is(rows: Rows) -> Rows:
    return rows


TEXT = f"{HEADER}\nr1,30,k1,2025-01-01,1\n"
CASES = {
    "missing": Case("data_loader", ("missing.csv does not exist", "Correct source.path")),
    "empty": Case("data_loader", ("empty.csv is empty", "Give a file with rows"), b""),
    "header-only": Case("data_loader", ("no rows: header-only.csv", "Give a source with rows"), f"{HEADER}\n".encode()),
    "blank": Case("data_loader", ("blank.csv holds only blank lines", "Give a file with rows"), b"\n\n \n"),
    "binary": Case("data_loader", ("binary.csv is not text", "Give delimited text"), bytes(range(256)) * 8),
    "not-utf-8": Case(
        "data_loader",
        ("not-utf-8.csv, row 3, column 'kind': byte 0xE9 is not utf-8", "Set source.encoding"),
        TEXT.encode() + b"r2,31,caf\xe9,2025-01-02,0\n",
    ),
    "ragged": Case(
        "data_loader",
        ("ragged.csv, row 3: 5 columns expected, 6 found", "Fix the row"),
        f"{TEXT}r2,31,k1,2025-01-02,0,more\n".encode(),
    ),
    "short": Case(
        "data_loader", ("short.csv, row 3: 5 columns expected, 2 found", "Fix the row"), f"{TEXT}r2,31\n".encode()
    ),
    "delimiter": Case(
        "data_loader",
        ("delimiter.csv has only one column", 'Set source.delimiter: ";"'),
        TEXT.replace(",", ";").encode(),
    ),
    "duplicate-name": Case(
        "data_loader", ("duplicate-name.csv, header", "'age'"), _as_is, ("row_id", "age", "age", "seen", "good")
    ),
    "no-target": Case(
        "preprocessor",
        ("the target column is missing: no column 'godo'", "Did you mean 'good'?"),
        _as_is,
        settings={"target": "godo"},
    ),
    "no-id": Case("preprocessor", ("no column 'key'", "row_id, age, kind"), _as_is, settings={"id": "key"}),
    "all-missing": Case(
        "preprocessor", ("column 'age' has no value in any of 150 rows", "drop: true"), _column("age", lambda _: "")
    ),
    "infinite": Case(
        "preprocessor",
        ("age is not finite", "infinite.csv row 2: 'inf'", "raise reject_limit"),
        _column("age", lambda row: "inf" if row % 10 == 0 else row),
    ),
    "nan": Case(
        "preprocessor",
        ("age is missing", "nan.csv row 2", "raise reject_limit"),
        _column("age", lambda row: "NaN" if row % 10 == 0 else row),
        settings={"schema": {"age": {"type": "number"}}},
    ),
    "no-row-left": Case(
        "preprocessor",
        ("no row is left of 150", "age is below the minimum 1000", "Fix the source or its `schema`"),
        _column("age", lambda row: row),
        settings={"schema": {"age": {"type": "number", "min": 1000}}},
    ),
    "one-class": Case(
        "feature_engineering",
        ("target 'good' has one class only", "'1'", "Give rows of at least two classes"),
        _column("good", lambda _: 1),
    ),
    "future": Case(
        "feature_engineering",
        ("target 'good' takes the value '2' only from 2025-05", "after the split", "Lower evaluate.holdout"),
        _column("good", lambda row: 2 if row > 140 else row % 2),
        settings={"timestamp": "seen"},
    ),
}
# These run as a person starts them; the others share one process, to save the time of their start.
ALONE = ("missing", "unset-variable")
CONFIGURATIONS = {
    "unset-variable": ("pipeline: ${AIW_NOT_SET_ANYWHERE}\ntarget: good\n", ("AIW_NOT_SET_ANYWHERE", ":1", "pipeline")),
    "unknown-key": ("trainer:\n  stpes: 5\n", (":2", "trainer.stpes", "did you mean 'steps'?")),
    "yaml": ("pipeline: x\nsource: {kind: csv\n", ("yaml.yaml:",)),
}


@pytest.fixture(scope="module")
def place(trained_once: Workplace, tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    """A place with a published version, to which the bad input must do nothing."""
    place = trained_once.copy(tmp_path_factory.mktemp("bad"))
    for name, case in CASES.items():
        case.write(place.folder / f"{name}.csv")
        place.configure(f"{name}.yaml", source={"kind": "csv", "path": f"{name}.csv"}, **case.settings)
    for name, (text, _) in CONFIGURATIONS.items():
        (place.folder / f"{name}.yaml").write_text(text)
    return place


@pytest.fixture(scope="module", autouse=True)
def unreachable(place: Workplace) -> Iterator[Future[Run]]:
    """A run whose database is down; it waits between its tries, so it runs beside the others."""
    source = {"kind": "sql", "table": "rows"}
    database = {"host": "127.0.0.1", "port": free_port(), "password": "pa55-never-shown"}
    other = place.copy(place.folder.with_name("down"))
    other.configure("down.yaml", source=source, database=database)
    with ThreadPoolExecutor(1) as beside:
        yield beside.submit(other.train, "down.yaml")


@pytest.fixture(scope="module")
def together(place: Workplace) -> dict[str, Run]:
    """The runs of all other cases; and some that fail for their parameters, or again."""
    calls = {
        name: {"flow": "training", "config": f"{name}.yaml"} for name in (*CASES, *CONFIGURATIONS) if name not in ALONE
    }
    good = {"flow": "training", "config": "pipeline.yaml"}
    calls |= {
        "future again": calls["future"],
        "traceparent": good | {"traceparent": "00-nonsense"},
        "log_level": good | {"log_level": "LOUD"},
        "version": good | {"flow": "scoring", "version": "model_v9.9"},
    }
    return dict(zip(calls, place.call(list(calls.values())), strict=True))


@pytest.mark.parametrize("name", CASES)
def test_invalid_table_fails_with_single_error(name: str, place: Workplace, request: pytest.FixtureRequest) -> None:
    run = place.train(f"{name}.yaml") if name in ALONE else request.getfixturevalue("together")[name]

    _assert_refused(run, CASES[name].stage, *CASES[name].says)
    _assert_untouched(place)


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_invalid_config_fails_with_single_report(name: str, place: Workplace, request: pytest.FixtureRequest) -> None:
    run = place.train(f"{name}.yaml") if name in ALONE else request.getfixturevalue("together")[name]

    assert run.code == 1
    assert len(run.ours("ERROR")) == 1
    assert "Traceback" not in run.output
    report = run.output.split("[ERROR] ai_pipeline.flow: ", 1)[1].split("[ERROR] prefect", 1)[0]
    assert "problem" in report
    for part in (f"{name}.yaml", *CONFIGURATIONS[name][1]):
        assert part in report
    _assert_untouched(place)


def test_failed_stage_is_not_cached(together: dict[str, Run]) -> None:
    again = together["future again"]

    _assert_refused(again, CASES["future"].stage, *CASES["future"].says)
    assert not again.ours("WARN")


@pytest.mark.parametrize(
    ("parameter", "says"),
    [
        ("traceparent", ("traceparent '00-nonsense' is not of the form",)),
        ("log_level", ("logging.level",)),
        ("version", ("model version 'model_v9.9' not found", "available: model_v1.0")),
    ],
)
def test_invalid_parameter_fails_with_single_error(
    parameter: str, says: tuple[str, ...], together: dict[str, Run], place: Workplace
) -> None:
    run = together[parameter]

    assert run.code == 1
    assert "Traceback" not in run.output
    assert len(run.ours("ERROR")) == 1, run.output
    for part in says:
        assert part in run.output
    _assert_untouched(place)


def test_unreachable_database_is_retried_then_fails(unreachable: Future[Run]) -> None:
    run = unreachable.result()

    _assert_refused(run, "data_loader", "the database 127.0.0.1:", "cannot be reached", "Check that it runs")
    tries = [line.message for line in run.ours("WARN") if "; retry in" in line.message]
    assert len(tries) == 2
    assert [event.status for event in run.events if event.stage == "data_loader"] == [journal.STARTED, journal.ERROR]
    assert "pa55-never-shown" not in run.output


def test_wrong_password_or_unknown_table_fails_with_single_error(place: Workplace, postgres: Postgres) -> None:
    with postgres.connect() as connection:
        connection.execute("CREATE TABLE bad_input_known (row_id int)")
    right = {"host": postgres.host, "port": postgres.port, "username": postgres.user, "password": postgres.password}
    place.configure("password.yaml", source={"kind": "sql", "table": "bad_input_known"},
                    database=right | {"password": "wr0ng-pa$word"})  # fmt: skip
    place.configure("table.yaml", source={"kind": "sql", "table": "bad_input_unknown"}, database=right)
    password, table = place.call([{"flow": "training", "config": name} for name in ("password.yaml", "table.yaml")])

    _assert_refused(password, "data_loader", f"{postgres.host}:{postgres.port} refused 'pipeline'", "Correct the user")
    _assert_refused(
        table, "data_loader", "table bad_input_unknown is not in", "bad_input_known", "Correct source.table"
    )
    for secret in ("wr0ng-pa$word", postgres.password):
        assert secret not in password.output + table.output
    _assert_untouched(place)


def _assert_refused(run: Run, stage: str, *says: str) -> None:
    assert run.code == 1
    errors = run.ours("ERROR")
    assert len(errors) == 1, run.output
    assert errors[0].logger == f"ai_pipeline.{stage}"
    for part in says:
        assert part in errors[0].message
    assert "Traceback" not in run.output
    assert run.outcome == f"failed in {stage}"
    assert run.of(stage).status == journal.ERROR
    assert run.of(stage).message == errors[0].message
    tries = [line for line in run.ours("WARN") if "; retry in" in line.message]
    assert run.output.count(errors[0].message) == 1 + len(tries), "the error is printed once"


def _assert_untouched(place: Workplace) -> None:
    assert place.registry.versions() == ["model_v1.0"]
    assert place.registry.aliases() == {"latest": "model_v1.0", "stable": "model_v1.0"}
    assert len(place.registry.history()) == 1
    assert not place.leftovers()
