"""Partitioned datasets: stages pass small verified references to large files.

A partition is a pure function of its inputs. Its file name has their fingerprint, and datasets share it: a new or
changed source file recomputes only its own partitions, and a killed stage repeats only the unfinished ones. Layout:

    data/<stage>/<key>.json            a record with the checksums of the files computed from `key`
    data/<stage>/<key>-00000.parquet   these files
    data/datasets/<stage>-<fingerprint>.json   the partitions of one dataset, in order

A loaded partition may be a range of a text file instead: `data/loaded/<key>.text.json` describes it, and the rows are
read from the source.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NotRequired, TypedDict

from ai_workflow.datasets import fingerprint, parquet
from ai_workflow.datasets.text_ranges import text_range
from ai_workflow.datasets.text_ranges.text_range import TextPlace
from ai_workflow.storage.file_ref import FileRecord, FileRef
from ai_workflow.storage.store import Store
from ai_workflow.telemetry.logs import logger

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

FOLDER = "data"
# Prefix of columns for the origin of a row; the loader rejects source columns with it.
RESERVED = "__"
ROW = f"{RESERVED}row"
# The file of a row, in partitions with rows of several files; elsewhere `Partition.source` names the file.
SOURCE = f"{RESERVED}source"
# The ID of a clean row: its id column, or else `<file>:<row>`.
ID = f"{RESERVED}id"
# Info key of a dataset with smaller partitions than configured: [configured rows, maximum rows].
REDUCED: Final = "reduced"
log = logger("partitions")


class PartitionRecord(FileRecord):
    """A `Partition` as JSON."""

    rows: int
    source: str
    place: NotRequired[TextPlace]


class DatasetInfo(TypedDict, total=False):
    """Facts about a dataset that its stage stores.

    `data_loader` writes `columns`, and `absent` if some files lack columns. Added stages write `stages` too, the number
    of rows that each of them dropped, which `preprocessor` repeats. `preprocessor` writes `schema` and `cells`,
    and `undeclared` (columns typed by their values) and `warnings` if there are any. `feature_engineering` writes
    `spec` (the fingerprint of the spec), `inference` writes `model_version`. All write `reduced` where memory ran
    short.
    """

    columns: list[dict[str, str]]
    absent: dict[str, Any]
    stages: dict[str, int]
    schema: dict[str, dict[str, Any]]
    cells: dict[str, Any]
    undeclared: list[str]
    warnings: list[str]
    spec: str
    model_version: str
    reduced: list[int]


class DatasetRecord(TypedDict):
    """Reference to a dataset: the result of a data stage, which may add keys."""

    fingerprint: str
    rows: int
    record: FileRecord


@dataclass(frozen=True, slots=True)
class Partition:
    """One Parquet file, or description of a text range, with `rows` rows from `source`, a name for messages.

    Rows of several files have the name of their file in the column `__source`. `place` is that of a text range.
    """

    path: str
    sha256: str
    bytes: int
    rows: int
    source: str
    place: TextPlace | None = None

    @classmethod
    def of(cls, ref: FileRef, rows: int, source: str) -> Partition:
        """Return the partition of a written file."""
        return cls(ref.path, ref.sha256, ref.bytes, rows, source)

    def to_json(self) -> PartitionRecord:
        """Return the partition as JSON types."""
        record: PartitionRecord = {
            "path": self.path, "sha256": self.sha256, "bytes": self.bytes, "rows": self.rows, "source": self.source
        }  # fmt: skip
        return {**record, "place": self.place} if self.place else record


@dataclass(frozen=True, slots=True)
class Dataset:
    """The partitions that a stage wrote, in order, with additional information of the stage."""

    stage: str
    partitions: tuple[Partition, ...]
    info: DatasetInfo

    @property
    def rows(self) -> int:
        """Rows in all partitions."""
        return sum(partition.rows for partition in self.partitions)

    @property
    def largest(self) -> int:
        """Rows of the largest partition."""
        return max(partition.rows for partition in self.partitions)

    @property
    def reduced(self) -> DatasetInfo:
        """The part of `info` that derived datasets repeat: that partitions were made smaller for lack of memory."""
        return {REDUCED: self.info[REDUCED]} if REDUCED in self.info else {}

    @property
    def fingerprint(self) -> str:
        """A digest of the rows in order, their sources and `info`."""
        return fingerprint.of([[part.sha256, part.source] for part in self.partitions], self.info)

    def save(self, store: Store) -> DatasetRecord:
        """Write the list of partitions and return the stage result that refers to it."""
        body = {"stage": self.stage, "partitions": [part.to_json() for part in self.partitions], "info": self.info}
        own_fingerprint = self.fingerprint
        places = [part.place for part in self.partitions if part.place]
        # A moved file has the same rows, but another list of partitions.
        name = f"{own_fingerprint}-{fingerprint.of(places)}" if places else own_fingerprint
        ref = store.write_record(f"{FOLDER}/datasets/{self.stage}-{name}.json", body)
        return {"fingerprint": own_fingerprint, "rows": self.rows, "record": ref.to_json()}

    @classmethod
    def load(cls, store: Store, result: DatasetRecord) -> Dataset:
        """Return the dataset of a stage result.

        Raises:
            StoreError: the list of partitions is missing or damaged.
        """
        body = store.read_record(result["record"]["path"])
        return cls(body["stage"], tuple(Partition(**part) for part in body["partitions"]), body["info"])


def write(
    store: Store,
    path: str,
    data: pd.DataFrame | pa.Table | Iterable[pa.Table],
    source: str,
    dictionary: list[str] | None = None,
) -> Partition:
    """Write a frame, a table, or consecutive tables as one Parquet file; `dictionary` as for `parquet.write`.

    The same rows give the same bytes, however they are split; little more than one row group is in memory.
    """
    import pandas as pd
    import pyarrow as pa

    if isinstance(data, pd.DataFrame):
        data = parquet.to_table(data)
    tables = [data] if isinstance(data, pa.Table) else data
    with store.writing(path) as pending:
        rows = parquet.write(tables, pending.local, dictionary)
    log.debug("written: %s, %d rows, %d bytes", path, rows, pending.ref.bytes)
    return Partition.of(pending.ref, rows, source)


def read(store: Store, partition: Partition, columns: list[str] | None = None) -> pd.DataFrame:
    """Return a partition as a frame with a new index; whole numbers with gaps stay whole numbers.

    Raises:
        StoreError: the file is missing or is not Parquet.
    """
    return parquet.to_frame(table(store, partition, columns))


def table(store: Store, partition: Partition, columns: list[str] | None = None) -> pa.Table:
    """Return a partition as an Arrow table.

    Raises:
        StoreError: the file is missing or is not Parquet.
        StageError: the source of a text range is missing or has changed.
    """
    _debug_read(partition, partition.rows, columns)
    if partition.place:
        import pyarrow as pa

        return pa.concat_tables(_of_text(store, partition, partition.place, columns))
    with parquet.open_file(store, partition.path) as file:
        return parquet.read(file, columns)


def slices(store: Store, partition: Partition, rows: int, columns: list[str] | None = None) -> Iterator[pd.DataFrame]:
    """Yield the rows of a partition as frames of at most `rows` rows; raises the errors of `table`."""
    yield from map(parquet.to_frame, table_slices(store, partition, rows, columns))


def table_slices(store: Store, partition: Partition, rows: int, columns: list[str] | None = None) -> Iterator[pa.Table]:
    """Yield the rows of a partition as tables of at most `rows` rows; raises the errors of `table`."""
    if rows >= partition.rows:
        yield table(store, partition, columns)
        return
    _debug_read(partition, rows, columns)
    if partition.place:
        for piece in _of_text(store, partition, partition.place, columns):
            yield from (piece.slice(start, rows) for start in range(0, piece.num_rows, rows))
        return
    with parquet.open_file(store, partition.path) as file:
        yield from parquet.batches(file, rows, columns)


def _of_text(store: Store, partition: Partition, place: TextPlace, columns: list[str] | None) -> Iterator[pa.Table]:
    content = json.loads(store.read(partition.path, partition.sha256))
    return text_range.tables(content, place, ROW, columns)


def _debug_read(partition: Partition, at_once: int, columns: list[str] | None) -> None:
    if not log.isEnabledFor(logging.DEBUG):
        return
    selection = "all columns" if columns is None else f"{len(columns)} columns"
    size = (partition.path, partition.rows, partition.bytes)
    log.debug("read: %s, %d rows, %d bytes, %s, %d rows at once", *size, selection, min(at_once, partition.rows))


def row_sources(frame: pd.DataFrame, source: str) -> pd.Series:
    """Return the name of the file of each row; `source` names the file of a frame without `__source`."""
    import pandas as pd

    return frame[SOURCE].astype("str") if SOURCE in frame else pd.Series(source, index=frame.index, dtype="str")


def frames(
    store: Store, dataset: Dataset, columns: list[str] | None = None, rows: int | None = None
) -> Iterator[tuple[Partition, pd.DataFrame]]:
    """Yield each partition with its frame, one in memory at a time; with `rows`, in slices of `rows` rows."""
    for partition in dataset.partitions:
        yield from ((partition, frame) for frame in slices(store, partition, rows or partition.rows, columns))
