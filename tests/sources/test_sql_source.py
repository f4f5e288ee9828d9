"""What a SQL source promises, tried on SQLite: typed rows, equal partitions for equal rows, no password shown."""

from __future__ import annotations

import socket
import sqlite3
from pathlib import Path

import pytest

from ai_workflow.config.settings import Database, SqlSource
from ai_workflow.errors import StageError, TransientError
from ai_workflow.secret_values import MissingSecretError
from ai_workflow.sources import sql_source
from ai_workflow.stages import data_loader
from ai_workflow.storage.store import Store
from tests.sources.loading import load, refused, rows, sql


@pytest.fixture
def url(tmp_path: Path) -> str:
    """A database with the tables `people` (key `id`, written in no order) and `orders`."""
    with sqlite3.connect(tmp_path / "a.db") as connection:
        connection.executescript(
            """
            CREATE TABLE people (id INTEGER PRIMARY KEY, name TEXT, born DATE, tall NUMERIC, member BOOLEAN, note TEXT);
            INSERT INTO people VALUES (2, ' Bo ', '1990-05-06', 1.5, 0, NULL), (1, 'Al', NULL, NULL, 1, NULL);
            CREATE TABLE orders (id INTEGER, person INTEGER, paid);
            INSERT INTO orders VALUES (10, 1, 5), (11, 2, 2.5);
            CREATE TABLE vacant (a INTEGER);
            CREATE TABLE pictures (a BLOB);
            INSERT INTO pictures VALUES (x'ff');
            CREATE TABLE wrong (d DATE);
            INSERT INTO wrong VALUES ('soon');
            """
        )
    connection.close()
    return f"sqlite:///{tmp_path}/a.db"


def test_table_is_read_in_key_order_with_column_types(store: Store, url: str) -> None:
    dataset = load(store, sql(url, table="people"))
    assert [column["type"] for column in dataset.info["columns"]] == [
        "integer", "string", "datetime", "number", "boolean", "string",
    ]  # fmt: skip
    assert [row[:3] for row in rows(store, sql(url, table="people"))] == [(1, 1, "Al"), (2, 2, " Bo ")]
    assert {part.source for part in dataset.partitions} == {"table people"}


@pytest.mark.parametrize("table", ["main.people", "north.orders", "main.north.orders", "a.b.c", "people.", ".people"])
def test_dotted_table_name_is_schema_qualified_or_literal(store: Store, url: str, tmp_path: Path, table: str) -> None:
    with sqlite3.connect(tmp_path / "a.db") as connection:
        for name in ("north.orders", "a.b.c", "people.", ".people"):
            connection.execute(f'CREATE TABLE "{name}" (id INTEGER PRIMARY KEY)')
            connection.execute(f'INSERT INTO "{name}" VALUES (1)')
    connection.close()
    assert rows(store, sql(url, table=table))[0][:2] == (1, 1)


def test_query_is_executed_unchanged(store: Store, url: str) -> None:
    query = "SELECT id, name AS n FROM people WHERE name LIKE '%o%' AND name <> ':x'"
    assert rows(store, sql(url, query=query, strip=True)) == [(1, 2, "Bo")]


def test_mixed_integer_and_float_column_becomes_float(store: Store, url: str) -> None:
    found = rows(store, sql(url, table="orders", partition_rows=1))
    assert found == [(1, 10, 1, 5.0), (2, 11, 2, 2.5)]


def test_late_column_type_applies_to_all_partitions(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sql_source, "_FETCH", 2)
    with sqlite3.connect(tmp_path / "b.db") as connection:
        connection.execute("CREATE TABLE t (a, b)")
        connection.executemany("INSERT INTO t VALUES (?, ?)", [(None, 1), (None, 2), (None, 3), (1, 2.5), (2, "x")])
    connection.close()
    found = rows(store, sql(f"sqlite:///{tmp_path}/b.db", table="t", partition_rows=2))
    assert found == [(1, None, "1"), (2, None, "2"), (3, None, "3"), (4, 1, "2.5"), (5, 2, "x")]


def test_unchanged_rows_reuse_partitions(store: Store, url: str, tmp_path: Path) -> None:
    first = load(store, sql(url, table="orders", partition_rows=1))
    written = {part.path: store.local(part.path).stat().st_mtime_ns for part in first.partitions}
    assert load(store, sql(url, table="orders", partition_rows=1)) == first
    with sqlite3.connect(tmp_path / "a.db") as connection:
        connection.execute("INSERT INTO orders VALUES (12, 2, 9.5)")
    connection.close()
    grown = load(store, sql(url, table="orders", partition_rows=1))
    assert grown.partitions[:2] == first.partitions
    assert {path: store.local(path).stat().st_mtime_ns for path in written} == written


def test_database_inspection_differs_on_every_call(url: str) -> None:
    first, second = (data_loader.inspect(sql(url, table="people")) for _ in range(2))
    assert first[0]["name"] == "table people"
    assert first != second


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ({"table": "persons"}, "table persons is not in"),
        ({"table": "main.persons"}, "table main.persons is not in"),
        ({"table": "sales.people"}, "it has no schema sales, only main. Correct source.table: the part before the dot"),
        ({"table": "vacant"}, "no rows: table vacant"),
        ({"table": "pictures"}, "column 'a' holds bytes"),
        ({"table": "wrong"}, "table wrong cannot be read"),
        ({"query": "SELEC 1"}, 'near "SELEC": syntax error'),
        ({"query": "SELECT nope FROM people"}, "no such column: nope"),
        ({"query": "SELECT * FROM people JOIN orders ON person = people.id"}, "more than one column is named 'id'"),
        ({"query": "SELECT 1 AS __row"}, "begins with __"),
        ({"query": "DELETE FROM people"}, "returns no rows"),
        ({"query": "SELECT 1 AS a; SELECT 2"}, "one statement at a time"),
    ],
)
def test_invalid_table_or_query_is_reported(store: Store, url: str, what: dict[str, str], said: str) -> None:
    assert said in refused(store, sql(url, **what))


def test_dropped_sql_columns_are_not_read(store: Store, url: str) -> None:
    query = "SELECT x'ff' AS picture, id, 1 AS __row, 2 AS id_2, 3 AS id_2 FROM people ORDER BY id"
    assert rows(store, sql(url, query=query, drop=("picture", "__row", "id_2"))) == [(1, 1), (2, 2)]


def test_sql_source_is_read_only(store: Store, url: str, tmp_path: Path) -> None:
    refused(store, sql(url, query="DELETE FROM people"))
    with sqlite3.connect(tmp_path / "a.db") as connection:
        assert connection.execute("SELECT count(*) FROM people").fetchone() == (2,)
    connection.close()


def test_missing_sqlite_file_is_not_created(store: Store, tmp_path: Path) -> None:
    assert "does not exist" in refused(store, sql(f"sqlite:///{tmp_path}/gone.db", table="t"))
    assert not (tmp_path / "gone.db").exists()


def test_non_database_file_is_rejected(store: Store, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("a,b\n" * 999)
    assert "file is not a database" in refused(store, sql(f"sqlite:///{tmp_path}/a.csv", table="t"))


@pytest.mark.integration
@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("nosuch://me:hunter2@host/db", "no driver for nosuch"),
        ("mysql+nosuch://me:hunter2@host/db", "no driver for mysql"),
        ("postgresql+asyncpg://me:hunter2@host/db", "asyncpg"),
        ("hunter2 is no address", "not a database URL"),
        ("postgresql://me:hunter2@host:port/db", "not a database URL"),
    ],
)
def test_invalid_database_url_error_masks_password(store: Store, address: str, said: str) -> None:
    text = refused(store, sql(address, table="t"))
    assert said in text
    assert "hunter2" not in text


@pytest.mark.integration
@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg"])
def test_postgresql_url_without_driver_uses_installed_driver(store: Store, scheme: str) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{unused.getsockname()[1]}"
        own = sql(f"{scheme}://me@{address}/db", table="t")
        with pytest.raises(TransientError, match=f"{address} cannot be reached"):
            data_loader.load(store, own, data_loader.inspect(own))
        host, _, port = address.partition(":")
        source = SqlSource(kind="sql", table="t")
        database = Database.model_validate({"driver": scheme, "host": host, "port": int(port)})
        with pytest.raises(TransientError, match=f"{address} cannot be reached"):
            data_loader.load(store, source, data_loader.inspect(source), database)


def test_missing_postgresql_driver_error_suggests_installed_driver(store: Store) -> None:
    said = refused(store, sql("postgresql+psycopg2://me@host/db", table="t"))
    assert said.endswith("Write it as postgresql+psycopg://, whose driver is installed")


@pytest.mark.integration
def test_unreachable_database_is_transient_error_with_host_and_port(store: Store) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        source = SqlSource(kind="sql", table="t")
        database = Database.model_validate({"host": "127.0.0.1", "port": port, "password": "hunter2"})
        with pytest.raises(TransientError, match=f"127.0.0.1:{port} cannot be reached") as caught:
            data_loader.load(store, source, data_loader.inspect(source), database)
    assert "hunter2" not in str(caught.value)


def test_debug_log_shows_sql_with_masked_literals(store: Store, url: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG", logger="ai_pipeline")
    load(store, sql(url, query="SELECT id FROM people WHERE name <> 'who-must-not-be-named'"))
    load(store, sql(url, table="people"))
    assert any(text.endswith("SELECT id FROM people WHERE name <> '***'") for text in caplog.messages)
    assert any("SQL to " in text and "FROM people ORDER BY people.id" in text for text in caplog.messages)
    assert any(text.startswith("2 rows read from ") for text in caplog.messages)
    assert "who-must-not-be-named" not in caplog.text


def test_missing_url_secret_is_named(store: Store) -> None:
    source = sql("${secret:no-such-url}", table="t")
    with pytest.raises(MissingSecretError, match="no-such-url"):
        data_loader.load(store, source, data_loader.inspect(source), fetch_secret=lambda _: None)


def test_url_secret_is_resolved(store: Store, url: str) -> None:
    source = sql("${secret:db-url}", table="orders")
    found = data_loader.load(store, source, data_loader.inspect(source), fetch_secret={"db-url": url}.get)
    assert found["rows"] == 2


def test_full_disk_during_spooling_suggests_tmpdir(store: Store, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(sql_source, "spool", full)
    with pytest.raises(StageError, match=r"No space left on device.*TMPDIR"):
        load(store, sql(url, table="orders"))
