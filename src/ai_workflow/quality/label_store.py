"""Stored labels of a pipeline, and the predictions that they belong to.

    labels/<pipeline>/kept/<key>.json            checksums of the two files beside it, and the paths they replace
    labels/<pipeline>/kept/<key>-labels.parquet  key, label, time
    labels/<pipeline>/kept/<key>-matches.parquet key, version, prediction, made
    labels/<pipeline>/service/<digest>.jsonl     labels of `POST /labels` until they are stored

Stored labels do not depend on their source or on the prediction files, which may be deleted. Rows are only added; many
records are merged into one.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, TypedDict

from ai_workflow.datasets import parquet, partitions
from ai_workflow.datasets.partitions import PartitionRecord
from ai_workflow.errors import StoreError
from ai_workflow.quality import labels
from ai_workflow.storage import locks
from ai_workflow.storage.store import Store

if TYPE_CHECKING:
    import pyarrow as pa

FOLDER = "labels"
_MAX_RECORDS = 50
_BATCH_ROWS = 65_536
Tables = Iterable["pa.Table"]


def matches_schema() -> pa.Schema:
    """Return the schema of predictions with a label; `made` is None if the time is unknown."""
    import pyarrow as pa

    names = [("key", pa.string()), ("version", pa.string()), ("prediction", pa.string()), ("made", pa.timestamp("us"))]
    return pa.schema(names)


class _Record(TypedDict):
    """A record: its files by kind, and the paths that they replace."""

    parts: dict[str, PartitionRecord]
    replaces: list[str]


class LabelStore:
    """The labels of one pipeline; use it within `locked`."""

    def __init__(self, store: Store, pipeline: str) -> None:
        self._store, self._folder = store, f"{FOLDER}/{pipeline}"
        self._records: dict[str, _Record] = {}
        self.segments: list[str] = []

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Exclude other evaluations of this machine, and read the records.

        Raises:
            StoreError: a record is damaged, or the folder cannot be written.
        """
        with contextlib.ExitStack() as stack:
            if self._store.is_local:
                stack.enter_context(locks.exclusive_folder(self._store.local(self._folder)))
                self._store.remove_parts(f"{self._folder}/kept")
            self._read_records()
            yield

    def _read_records(self) -> None:
        folder = f"{self._folder}/kept"
        names = [name.removesuffix(".json") for name in self._store.names(folder) if name.endswith(".json")]
        records = {name: self._store.read_record(f"{folder}/{name}.json") for name in names}
        self.segments = [name for name in self._store.names(f"{self._folder}/service") if name.endswith(".jsonl")]
        replaced = {path for body in records.values() for path in body["replaces"]}
        # An evaluation that was killed may have left replaced files.
        for path in sorted(replaced):
            self._store.remove(path)
        self._records = {name: body for name, body in records.items() if f"{folder}/{name}.json" not in replaced}
        self.segments = [name for name in self.segments if self._segment(name) not in replaced]

    def _segment(self, name: str) -> str:
        return f"{self._folder}/service/{name}"

    @property
    def rows(self) -> int:
        """Number of stored labels and matches."""
        return sum(part["rows"] for body in self._records.values() for part in body["parts"].values())

    @property
    def names(self) -> list[str]:
        """Names of all records and segments; a name stands for its content."""
        return sorted([*self._records, *self.segments])

    @property
    def is_scattered(self) -> bool:
        """Whether the records should be merged into one."""
        return len(self._records) > _MAX_RECORDS

    def labels(self) -> Iterator[pa.Table]:
        """Yield the stored labels."""
        yield from self._kept("labels")

    def matches(self) -> Iterator[pa.Table]:
        """Yield the stored predictions."""
        yield from self._kept("matches")

    def _kept(self, kind: str) -> Iterator[pa.Table]:
        for body in self._records.values():
            if kind in body["parts"]:
                part = partitions.Partition(**body["parts"][kind])
                if not self._store.matches(part.path, part.sha256):
                    raise StoreError(
                        f"{self._store.url(part.path)} is missing or damaged, and with it stored labels. "
                        "Restore it, or remove its .json to read the labels from their source again"
                    )
                with parquet.open_file(self._store, part.path) as file:
                    yield from parquet.batches(file, _BATCH_ROWS)

    def sent(self) -> Iterator[pa.Table]:
        """Yield the labels that the service received and that are not stored yet."""
        for name in self.segments:
            path = self._segment(name)
            yield from labels.of_segment(self._store.read(path), self._store.url(path))

    def keep(self, key: str, fresh: dict[str, Tables], *, is_all: bool) -> None:
        """Add labels and matches, and remove the files that they replace.

        Args:
            key: digest of all inputs.
            fresh: tables by kind, `labels` and `matches`; without rows, nothing is written.
            is_all: whether they replace all stored rows, and are not only new rows.
        """
        folder, parts = f"{self._folder}/kept", {}
        for kind, tables in fresh.items():
            part = partitions.write(self._store, f"{folder}/{key}-{kind}.parquet", tables, kind)
            parts[kind] = asdict(part)
        replaces = [self._segment(name) for name in self.segments]
        if is_all:
            replaces += [f"{folder}/{name}.json" for name in self._records]
            replaces += [part["path"] for body in self._records.values() for part in body["parts"].values()]
        self._store.write_record(f"{folder}/{key}.json", {"parts": parts, "replaces": sorted(replaces)})
        for path in sorted(replaces, key=lambda path: not path.endswith(".json")):
            self._store.remove(path)
