"""Columns of a source: detection of their kind, and normalization of their values."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

from ai_workflow.datasets import numerals
from ai_workflow.datasets.partitions import RESERVED, ROW
from ai_workflow.errors import StageError

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

Kind = Literal["string", "integer", "number", "boolean", "datetime"]
# A column without any value is compatible with every kind.
DetectedKind = Kind | Literal["unknown"]
# The name of a first column without a name.
INDEX = "Unnamed: 0"


class MissingRules(NamedTuple):
    """Texts that mean a missing value, and whether text is stripped first."""

    tokens: tuple[str, ...]
    strip: bool


def check_names(names: Sequence[str], where: str) -> None:
    """Check that column names are not empty, reserved or repeated.

    Raises:
        StageError: some are; the message names the columns and `where` they are.
    """
    nameless = [number for number, name in enumerate(names, 1) if not name]
    if nameless:
        raise StageError(
            f"{where}: column {_list(nameless)} has no name", "Name every column; an index is best left out"
        )
    repeated = sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []
    if repeated:
        raise StageError(
            f"{where}: more than one column is named {_list(repeated)}", "Give every column a name of its own"
        )
    reserved = [name for name in names if name.startswith(RESERVED)]
    if reserved:
        raise StageError(
            f"{where}: column {_list(reserved)} begins with {RESERVED}, which is kept for this workflow",
            "Rename it; pandas leaves out `__index_level_0__` with index=False",
        )


def frame_names(frame: pd.DataFrame, where: str) -> list[str]:
    """Return the column names of a frame of own code, checked as by `check_names`."""
    names = list(frame.columns)
    if wrong := [name for name in names if not isinstance(name, str)]:
        raise StageError(f"{where}: the column {wrong[0]!r} has a name that is no text", "Rename it")
    check_names(names, where)
    return names


def of_series(column: pd.Series, name: str, missing: MissingRules, where: str) -> pa.ChunkedArray:
    """Return a column of own code as its kind.

    Raises:
        StageError: its values are nested, or have no common type.
    """
    import pyarrow as pa

    try:
        values = pa.array(column, from_pandas=True)
        kind = kind_of(values.type, name, where)
        return values if kind == "unknown" else normalize(values, kind, missing)
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
        reason = " ".join(str(error).split())
        raise StageError(
            f"{where}: column '{name}' of type {column.dtype} cannot be read: {reason}",
            f"Give its values one type, or {leave_out(name)}",
        ) from error


def with_index_name(names: Sequence[str]) -> list[str]:
    """Return column names with the name that pandas gives a first one without a name, if all others have names."""
    is_index = len(names) > 1 and not names[0] and all(names[1:])
    return [INDEX, *names[1:]] if is_index else list(names)


def with_names_at_end(names: Sequence[str]) -> list[str]:
    """Return column names with the names that pandas gives nameless ones at the end, if most columns have names."""
    named = max((number for number, name in enumerate(names, 1) if name), default=0)
    if 2 * named <= len(names):
        return list(names)
    return [*names[:named], *(f"Unnamed: {number}" for number in range(named, len(names)))]


def kind_of(data_type: pa.DataType, name: str, where: str) -> DetectedKind:
    """Return the kind of an Arrow type.

    Raises:
        StageError: the type is nested or unsupported.
    """
    import pyarrow as pa
    from pyarrow import types

    plain = data_type.storage_type if isinstance(data_type, pa.BaseExtensionType) else data_type
    if types.is_dictionary(plain):
        return kind_of(plain.value_type, name, where)
    kinds: tuple[tuple[DetectedKind, tuple[str, ...]], ...] = (
        ("string", ("string", "large_string", "string_view", "binary", "large_binary", "binary_view", "time")),
        ("integer", ("integer",)),
        ("number", ("floating", "decimal", "duration")),
        ("boolean", ("boolean",)),
        ("datetime", ("timestamp", "date")),
        ("unknown", ("null",)),
    )
    for kind, tests in kinds:
        if any(getattr(types, f"is_{test}")(plain) for test in tests):
            return kind
    raise StageError(
        f"{where}: column '{name}' holds {data_type}, not single values",
        f"Spread it over columns, or {leave_out(name)}",
    )


def leave_out(name: str) -> str:
    """Return the remedy for a column that cannot be read: the line of the pipeline file that leaves it out."""
    return f"leave the column out: schema: {{{name}: {{type: text, drop: true}}}}"


def common_kind(kinds: Iterable[DetectedKind]) -> DetectedKind | None:
    """Return the kind that can represent the values of all kinds, None if there is none."""
    distinct = set(kinds) - {"unknown"}
    if len(distinct) <= 1:
        return distinct.pop() if distinct else "unknown"
    return "number" if distinct == {"integer", "number"} else None


def arrow_type(kind: DetectedKind) -> pa.DataType:
    """Return the Arrow type of a kind; datetimes are in UTC without a time zone."""
    import pyarrow as pa

    types = {"integer": pa.int64(), "number": pa.float64(), "boolean": pa.bool_(), "datetime": pa.timestamp("us")}
    return types.get(kind, pa.string())


def normalize(column: pa.ChunkedArray, kind: DetectedKind, missing: MissingRules) -> pa.ChunkedArray:
    """Return a column as its kind, with nulls for empty text, missing tokens and NaN.

    Raises:
        pyarrow.ArrowInvalid: a value does not fit, such as bytes that are not UTF-8 or whole numbers beyond 64 bits.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    values = _cast(_plain(column), kind)
    if pa.types.is_string(values.type):
        values = pc.utf8_trim_whitespace(values) if missing.strip else values
        tokens = {"", *(token.strip() if missing.strip else token for token in missing.tokens)}
        absent = pc.is_in(values, value_set=pa.array(sorted(tokens), pa.string()))
    elif kind in ("integer", "number"):
        tokens = pa.array(sorted(numerals.missing_numbers(missing.tokens)), pa.float64())
        absent = pc.is_in(pc.cast(values, pa.float64(), safe=False), value_set=tokens)
        absent = pc.or_(absent, pc.is_nan(values)) if kind == "number" else absent
    else:
        return values
    if not pc.any(absent).as_py():
        return values
    return pc.if_else(pc.fill_null(absent, True), pa.scalar(None, values.type), values)


def with_row_numbers(columns: dict[str, pa.ChunkedArray], rows: pa.Array) -> pa.Table:
    """Return a table of the columns, preceded by their row numbers."""
    import pyarrow as pa

    return pa.table({ROW: rows, **columns})


def kinds_of(table: pa.Table) -> list[tuple[str, DetectedKind]]:
    """Return names and kinds of the columns of a table with row numbers."""
    return [(field.name, kind_of(field.type, field.name, "")) for field in table.schema if field.name != ROW]


def to_json(names: Sequence[str], kinds: Sequence[DetectedKind]) -> list[dict[str, str]]:
    """Return the columns as JSON types; a column without any value is text."""
    return [
        {"name": name, "type": "string" if kind == "unknown" else kind} for name, kind in zip(names, kinds, strict=True)
    ]


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    import pyarrow as pa

    if isinstance(column.type, pa.BaseExtensionType):
        column = column.cast(column.type.storage_type)
    return column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column


def _cast(values: pa.ChunkedArray, kind: DetectedKind) -> pa.ChunkedArray:
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_duration(values.type):
        micros = values.cast(pa.duration("us"), safe=False).cast(pa.int64())
        return pc.divide(micros.cast(pa.float64(), safe=False), 1e6)
    if kind == "datetime":
        return _microseconds(values)
    if kind == "number" and (pa.types.is_decimal(values.type) or _is_narrow(values.type)):
        # Cast by way of text: Arrow rounds decimals wrongly, and a float32 means its shortest decimal.
        values = (values.cast(pa.float32()) if pa.types.is_float16(values.type) else values).cast(pa.string())
    # The kind `number` allows rounding of whole numbers beyond 2**53.
    return values.cast(arrow_type(kind), safe=kind != "number")


def _is_narrow(data_type: pa.DataType) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_float32(data_type) or pa.types.is_float16(data_type))


def _microseconds(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return timestamps in UTC without a time zone, rounded down like texts; the cast of Arrow rounds towards 1970."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_timestamp(values.type) and values.type.unit == "ns":
        values = pc.floor_temporal(values.cast(pa.timestamp("ns")), 1, "microsecond")
    # The cast removes the time zone; Arrow stores timestamps in UTC.
    return values.cast(pa.timestamp("us"), safe=False)


def _list(items: Sequence[object]) -> str:
    shown = ", ".join(f"'{item}'" if isinstance(item, str) else str(item) for item in items[:5])
    return shown + (f" and {len(items) - 5} more" if len(items) > 5 else "")
