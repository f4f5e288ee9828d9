"""The labels of a pipeline that are known, and the predictions that they were found to be of: kept, each once.

    labels/<pipeline>/kept/<key>.json            vouches for the two files beside it, and names what they replace
    labels/<pipeline>/kept/<key>-labels.parquet  key, label, time
    labels/<pipeline>/kept/<key>-matches.parquet key, version, prediction, made
    labels/<pipeline>/service/<digest>.jsonl     what `POST /labels` took, until it is kept

What is kept does not depend on the source of the labels, nor on the predictions, which both may go. Rows are only ever
added; once there are many records, one takes the place of them all.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from ai_workflow.datasets import parquet, partitions
from ai_workflow.errors import StoreError
from ai_workflow.quality import labels
from ai_workflow.storage import locks
from ai_workflow.storage.store import Store

if TYPE_CHECKING:
    import pyarrow as pa

FOLDER = "labels"
# More records than these become one.
_MANY = 50
_BATCH = 65_536
Tables = Iterable["pa.Table"]


def matches_schema() -> pa.Schema:
    """Return the columns of predictions that labels were found for; `made` is None where it is not known when."""
    import pyarrow as pa

    names = [("key", pa.string()), ("version", pa.string()), ("prediction", pa.string()), ("made", pa.timestamp("us"))]
    return pa.schema(names)


class Ledger:
    """The labels of one pipeline; read it, and add to it, within `locked`."""

    def __init__(self, store: Store, pipeline: str) -> None:
        self._store, self._folder = store, f"{FOLDER}/{pipeline}"
        self._records: dict[str, dict[str, Any]] = {}
        self.segments: list[str] = []

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other evaluations of this machine out, and look at what is there.

        Raises:
            StoreError: a record is damaged, or the place cannot be written.
        """
        with contextlib.ExitStack() as stack:
            if self._store.is_local:
                stack.enter_context(locks.exclusive_folder(self._store.local(self._folder)))
                self._store.remove_parts(f"{self._folder}/kept")
            self._look()
            yield

    def _look(self) -> None:
        folder = f"{self._folder}/kept"
        names = [name.removesuffix(".json") for name in self._store.names(folder) if name.endswith(".json")]
        found = {name: self._store.read_record(f"{folder}/{name}.json") for name in names}
        self.segments = [name for name in self._store.names(f"{self._folder}/service") if name.endswith(".jsonl")]
        gone = {path for body in found.values() for path in body["replaces"]}
        # One that was killed may not have come to remove them.
        for path in sorted(gone):
            self._store.remove(path)
        self._records = {name: body for name, body in found.items() if f"{folder}/{name}.json" not in gone}
        self.segments = [name for name in self.segments if self._segment(name) not in gone]

    def _segment(self, name: str) -> str:
        return f"{self._folder}/service/{name}"

    @property
    def rows(self) -> int:
        """How many labels and matches are kept."""
        return sum(part["rows"] for body in self._records.values() for part in body["parts"].values())

    @property
    def names(self) -> list[str]:
        """What is there, by names that say what it holds."""
        return sorted([*self._records, *self.segments])

    @property
    def is_scattered(self) -> bool:
        """Whether there are so many records that all that is kept should be written anew, as one."""
        return len(self._records) > _MANY

    def labels(self) -> Iterator[pa.Table]:
        """Yield the labels that are kept."""
        yield from self._kept("labels")

    def matches(self) -> Iterator[pa.Table]:
        """Yield the predictions that are kept."""
        yield from self._kept("matches")

    def _kept(self, kind: str) -> Iterator[pa.Table]:
        for body in self._records.values():
            if kind in body["parts"]:
                part = partitions.Partition(**body["parts"][kind])
                if not self._store.matches(part.path, part.sha256):
                    raise StoreError(
                        f"{self._store.url(part.path)} is missing or damaged, and with it labels that are known. "
                        "Bring it back, or remove its .json: what the labels' source still has is read anew"
                    )
                with parquet.open_file(self._store, part.path) as file:
                    yield from parquet.batches(file, _BATCH)

    def sent(self) -> Iterator[pa.Table]:
        """Yield the labels that the service took, and that are not kept yet."""
        for name in self.segments:
            path = self._segment(name)
            yield from labels.of_segment(self._store.read(path), self._store.url(path))

    def keep(self, key: str, fresh: dict[str, Tables], *, is_all: bool) -> None:
        """Add labels and matches, and let go of what is no longer needed then.

        Args:
            key: digest of all that they were made of.
            fresh: tables by kind, `labels` and `matches`; without rows, nothing is written.
            is_all: they are all that there is, and not only what is new.
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
