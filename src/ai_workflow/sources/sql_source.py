"""A table or query of a database as typed tables, streamed with a server-side cursor."""

from __future__ import annotations

import datetime
import decimal
import enum
import logging
import uuid
from collections.abc import Callable, Iterator, Sequence
from typing import IO, TYPE_CHECKING, Any

from ai_workflow.config.settings import Database, SqlSource
from ai_workflow.datasets import source_columns
from ai_workflow.datasets.partitions import ROW
from ai_workflow.datasets.source_columns import DetectedKind, MissingRules
from ai_workflow.errors import StageError
from ai_workflow.secret_values import Fetch
from ai_workflow.sources import sql_connection, sql_text
from ai_workflow.telemetry.logs import logger

if TYPE_CHECKING:
    import pyarrow as pa
    from sqlalchemy import Connection, CursorResult, Inspector

_FETCH = 10_000
_PLAIN: dict[type, DetectedKind] = {
    bool: "boolean",
    int: "integer",
    float: "number",
    decimal.Decimal: "number",
    datetime.timedelta: "number",
    datetime.datetime: "datetime",
    datetime.date: "datetime",
    str: "string",
    datetime.time: "string",
    uuid.UUID: "string",
}
log = logger("data_loader")
_NESTED = (bytes, bytearray, memoryview, dict, list, tuple, set)


def inspect(source: SqlSource) -> list[dict[str, Any]]:
    """Return the inputs as JSON, different in each call, because a database cannot prove that no row changed."""
    return [{"name": f"table {source.table}" if source.table else source.query, "read_at": uuid.uuid4().hex}]


def label(source: SqlSource) -> str:
    """Return the table or query, for messages."""
    return f"table {source.table}" if source.table else "the query"


def spool(
    file: IO[bytes], source: SqlSource, section: Database | None, fetch: Fetch | None
) -> list[tuple[str, DetectedKind]]:
    """Write all rows to a temporary file and return the columns, whose kinds follow from the values.

    Raises:
        StageError: the database rejects the request, or a column has bytes or nested values.
        TransientError: the database cannot be reached.
        MissingSecretError: the password is not set.
    """
    import pyarrow as pa

    url = sql_connection.url_of(source, section, fetch)
    source_name = label(source)
    kinds: dict[str, DetectedKind] = {}
    start = 1
    with sql_connection.connected(url, source_name) as connection:
        result = _run(connection, source, sql_connection.address(url))
        names = [str(name) for name in result.keys()]  # noqa: SIM118
        kept = [(position, name) for position, name in enumerate(names) if name not in source.drop]
        source_columns.check_names([name for _, name in kept], source_name)
        for rows in result.partitions(_FETCH):
            table = _table(kept, rows, start, MissingRules(source.missing, source.strip), source_name)
            with pa.ipc.new_stream(file, table.schema) as writer:
                writer.write_table(table)
            kinds = {
                name: source_columns.common_kind([kinds.get(name, kind), kind]) or "string"
                for name, kind in source_columns.kinds_of(table)
            }
            start += len(rows)
    log.debug("%d rows read from %s", start - 1, sql_connection.address(url))
    return list(kinds.items()) or [(name, "string") for name in names]


def replay(file: IO[bytes], columns: list[tuple[str, DetectedKind]]) -> Iterator[pa.Table]:
    """Yield the rows that `spool` wrote, some thousands at a time; the first row has number 1."""
    import pyarrow as pa

    end = file.seek(0, 2)
    file.seek(0)
    while file.tell() < end:
        with pa.ipc.open_stream(file) as reader:
            table = reader.read_all()
        values = {
            name: table[name].cast(source_columns.arrow_type(kind), safe=kind != "number") for name, kind in columns
        }
        yield source_columns.with_row_numbers(values, table[ROW])


def _run(connection: Connection, source: SqlSource, address: str) -> CursorResult[Any]:
    import sqlalchemy as sa

    streaming = connection.execution_options(stream_results=True, yield_per=_FETCH)
    if source.table is None:
        _debug(source.query or "", connection, address)
        # Executed unchanged: neither `:name` nor `%` in the text is a parameter.
        result = streaming.exec_driver_sql(source.query or "", execution_options={"no_parameters": True})
        if not result.returns_rows:
            raise StageError("the query returns no rows", "Set source.query to a SELECT")
        return result
    schema, name = _locate(sa.inspect(connection), source.table, address)
    table = sa.Table(name, sa.MetaData(), schema=schema, autoload_with=connection)
    statement = sa.select(table).order_by(*table.primary_key)
    _debug(statement, connection, address)
    return streaming.execute(statement)


def _debug(statement: Any, connection: Connection, address: str) -> None:
    """Log a statement at level DEBUG with its literals masked."""
    if log.isEnabledFor(logging.DEBUG):
        text = statement if isinstance(statement, str) else str(statement.compile(dialect=connection.dialect))
        # An expression has no literals, only names of the database.
        backend = connection.dialect.name if isinstance(statement, str) else "postgresql"
        log.debug("SQL to %s: %s", address, sql_text.masked(text, backend))


def _locate(inspector: Inspector, full_name: str, address: str) -> tuple[str | None, str]:
    """Return schema and name of a table or view; a dot is part of the name, or separates schema and table.

    Raises:
        StageError: there is no such table, or no such schema.
    """
    if inspector.has_table(full_name):
        return None, full_name
    schemas = inspector.get_schema_names()
    schema, dot, name = full_name.partition(".")
    while dot:
        if schema in schemas and inspector.has_table(name, schema):
            return schema, name
        head, dot, name = name.partition(".")
        schema = f"{schema}.{head}"
    schema, dot, _ = full_name.rpartition(".")
    if dot and schema not in schemas:
        raise StageError(
            f"table {full_name} is not in {address}: it has no schema {schema}, only {', '.join(schemas[:10])}",
            "Correct source.table: the part before the dot is the schema",
        )
    tables = ", ".join(inspector.get_table_names(schema or None)[:10]) or "no table"
    raise StageError(f"table {full_name} is not in {address}; it has {tables}", "Correct source.table")


def _table(
    names: list[tuple[int, str]], rows: Sequence[Any], start: int, missing: MissingRules, source_name: str
) -> pa.Table:
    import pyarrow as pa

    columns = {}
    for position, name in names:
        array = _array([row[position] for row in rows], name, source_name)
        kind = source_columns.kind_of(array.type, name, source_name)
        columns[name] = array if kind == "unknown" else source_columns.normalize(array, kind, missing)
    return source_columns.with_row_numbers(columns, pa.array(range(start, start + len(rows)), pa.int64()))


def _array(values: list[Any], name: str, source_name: str) -> pa.Array:
    import pyarrow as pa

    types = set(map(type, values)) - {type(None)}
    nested = next((kind for kind in types if issubclass(kind, _NESTED)), None)
    if nested:
        raise StageError(
            f"{source_name}: column '{name}' holds {nested.__name__}, not single values",
            f"Select its parts, or {source_columns.leave_out(name)}",
        )
    kind = source_columns.common_kind(_PLAIN.get(each, "string") for each in types) or "string"
    if kind == "unknown":
        return pa.nulls(len(values))
    if kind == "integer" and any(value is not None and not -(2**63) <= value < 2**63 for value in values):
        kind = "number"
    convert = _CONVERT[kind]
    return pa.array([None if value is None else convert(value) for value in values], source_columns.arrow_type(kind))


def _number(value: Any) -> float:
    return value.total_seconds() if isinstance(value, datetime.timedelta) else float(value)


def _moment(value: Any) -> datetime.datetime:
    if not isinstance(value, datetime.datetime):
        return datetime.datetime.combine(value, datetime.time())
    return value.astimezone(datetime.UTC).replace(tzinfo=None) if value.tzinfo else value


def _text(value: Any) -> str:
    return str(value.value) if isinstance(value, enum.Enum) else str(value)


_CONVERT: dict[DetectedKind, Callable[[Any], Any]] = {
    "boolean": bool,
    "integer": int,
    "number": _number,
    "datetime": _moment,
    "string": _text,
}
