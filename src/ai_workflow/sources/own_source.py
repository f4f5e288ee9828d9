"""Rows of a team's own code: pandas frames, read when the version that the code reports is another one."""

from __future__ import annotations

import inspect as signatures
import uuid
from collections.abc import Iterator, Sequence
from typing import IO, TYPE_CHECKING, Any, Protocol

from ai_workflow.config.settings import OwnSource, TableSource
from ai_workflow.datasets import source_columns
from ai_workflow.datasets.source_columns import DetectedKind, MissingRules
from ai_workflow.errors import StageError
from ai_workflow.plugins import names, objects, own_versions
from ai_workflow.plugins.names import CodePath
from ai_workflow.telemetry.logs import logger

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

_KEY = "source.kind"
_METHODS = ("version", "read")
_DOCS = "See docs/own-code.md#sources"
log = logger("data_loader")


class RowSource(Protocol):
    """A source of rows; the class is called with `source.params` as keyword arguments."""

    def version(self) -> str | None:
        """Return a text that differs whenever the rows may differ; None to read the rows in each run.

        It is called in each run, so it should be cheap: a table's last change, a count with the largest id.
        """

    def read(self) -> Iterator[pd.DataFrame]:
        """Yield the rows in batches with the same columns, in the same order for the same version."""


def check(source: TableSource) -> tuple[str, ...]:
    """Import the code of a source, and return it for a cache key; a source of this package has none.

    Raises:
        StageError: the code is not found, fails, or is no source.
    """
    if not isinstance(source, OwnSource):
        return ()
    _load(source)
    reference = own_versions.reference(code_path(source))
    return (reference,) if reference else ()


def code_path(source: OwnSource) -> CodePath:
    """Return the path of the class of a source.

    Raises:
        StageError: no entry point has this name.
    """
    return names.required_path("sources", source.kind, f"{_KEY}: there is no source")


def inspect(source: OwnSource) -> list[dict[str, Any]]:
    """Return the source as JSON with its version, or with a unique `read_at` if it has none.

    Raises:
        StageError: the code is no source, `version` raises, or returns no text.
    """
    label = f"{_KEY} {source.kind}"
    rows = _new(source)
    with objects.calls(label, "version"):
        version = rows.version()
    if version is None:
        return [{"name": source.kind, "read_at": uuid.uuid4().hex}]
    if not isinstance(version, str) or not version:
        place = objects.location_of(rows.version)
        raise StageError(f"{label}{place}: version returned {version!r}, not a text", "Return a text, or None")
    return [{"name": source.kind, "version": version}]


def spool(file: IO[bytes], source: OwnSource) -> list[tuple[str, DetectedKind]]:
    """Write all rows to a temporary file and return the columns, whose kinds follow from the values.

    Raises:
        StageError: the code raises, or yields something else than frames with the same columns of single values.
    """
    import pyarrow as pa

    label = f"{_KEY} {source.kind}"
    names_of_all: list[str] | None = None
    kinds: dict[str, DetectedKind] = {}
    start = 1
    for frame in _frames(source, label):
        columns = [name for name in source_columns.frame_names(frame, label) if name not in source.drop]
        names_of_all = columns if names_of_all is None else names_of_all
        if set(columns) != set(names_of_all):
            differing = ", ".join(sorted(set(columns) ^ set(names_of_all)))
            raise StageError(
                f"{label}: the batch from row {start} on has other columns than the first one: {differing}",
                "Yield the same columns in each batch",
            )
        table = _table(frame, names_of_all, start, MissingRules(source.missing, source.strip), label)
        with pa.ipc.new_stream(file, table.schema) as writer:
            writer.write_table(table)
        kinds = {
            name: source_columns.common_kind([kinds.get(name, kind), kind]) or "string"
            for name, kind in source_columns.kinds_of(table)
        }
        start += table.num_rows
    log.debug("%d rows read from %s", start - 1, source.kind)
    return list(kinds.items())


def _frames(source: OwnSource, label: str) -> Iterator[pd.DataFrame]:
    import pandas as pd

    rows = _new(source)
    with objects.calls(label, "read"):
        batches = iter(rows.read())
    while True:
        with objects.calls(label, "read"):
            frame = next(batches, None)
        if frame is None:
            return
        if not isinstance(frame, pd.DataFrame):
            place = objects.location_of(rows.read)
            raise StageError(f"{label}{place}: read yielded {type(frame).__name__}", "Yield pandas DataFrames")
        yield frame


def _table(frame: pd.DataFrame, columns: Sequence[str], start: int, missing: MissingRules, label: str) -> pa.Table:
    import pyarrow as pa

    arrays = {name: source_columns.of_series(frame[name], name, missing, label) for name in columns}
    return source_columns.with_row_numbers(arrays, pa.array(range(start, start + len(frame)), pa.int64()))


def _new(source: OwnSource) -> Any:
    kind = _load(source)
    with objects.calls(f"{_KEY} {source.kind}", "the constructor"):
        return kind(**source.params)


def _load(source: OwnSource) -> type:
    """Return the class of a source, which has the methods of the protocol and accepts `source.params`."""
    path = code_path(source)
    label = f"{_KEY} {path}"
    module, kind = objects.load(path, _KEY)
    if not isinstance(kind, type):
        raise StageError(f"{label} is {type(kind).__name__}, not a class", _DOCS)
    problems = [f"it has no method {name}" for name in _METHODS if not callable(getattr(kind, name, None))]
    if problems:
        raise StageError(f"{label} in {module.__file__} is no source: {', '.join(problems)}", _DOCS)
    try:
        signatures.signature(kind).bind(**source.params)
    except TypeError as error:
        place = objects.location_of(kind.__init__)  # type: ignore[misc]
        raise StageError(f"{label}{place} does not accept source.params: {error}", "Correct source.params") from error
    except ValueError:
        pass
    return kind
