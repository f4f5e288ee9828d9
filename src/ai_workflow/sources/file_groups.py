"""Groups of small files that share partitions, because each partition costs several files and records.

A group ends after a file whose digest is a multiple of `_FILES`, so that a file added, changed or removed changes only
the group that it is in. Rows of a group name their file in the column `__source`.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, TypeVar

from ai_workflow.datasets.partitions import SOURCE
from ai_workflow.runtime import partition_threads
from ai_workflow.sources.input_files import InputFile

if TYPE_CHECKING:
    import pyarrow as pa

Result = TypeVar("Result")

# A larger file has partitions of its own.
MAX_FILE_BYTES = 1 << 20
_MAX_GROUP_BYTES = 16 << 20
# Average number of files in a group.
_FILES = 64
# With fewer files, each has partitions of its own, so that a new file changes no other partition.
MIN_FILES = 17


def split(files: Sequence[InputFile]) -> Iterator[tuple[InputFile, ...]]:
    """Yield the files in groups, in order; a file of more than `MAX_FILE_BYTES` is a group of its own."""
    if len(files) < MIN_FILES:
        yield from ((file,) for file in files)
        return
    pending: list[InputFile] = []
    for file in files:
        if file.bytes > MAX_FILE_BYTES:
            yield from [tuple(pending)] if pending else []
            pending = []
            yield (file,)
            continue
        pending.append(file)
        if int(file.sha256, 16) % _FILES == 0 or sum(each.bytes for each in pending) >= _MAX_GROUP_BYTES:
            yield tuple(pending)
            pending = []
    if pending:
        yield tuple(pending)


def map_groups(
    work: Callable[[tuple[InputFile, ...]], Result], files: Sequence[InputFile]
) -> Iterator[tuple[tuple[InputFile, ...], Result]]:
    """Yield each group of files with `work(group)`, in order.

    Groups of small files are given to several threads. A large file has all threads for itself.
    """
    for is_small, groups in itertools.groupby(split(files), lambda group: group[0].bytes <= MAX_FILE_BYTES):
        if is_small:
            batch = list(groups)
            with contextlib.closing(partition_threads.results(work, batch)) as results:
                yield from zip(batch, results, strict=True)
        else:
            yield from ((group, work(group)) for group in groups)


class GroupReader:
    """Reader of the tables of a group; `rows` is the number of rows of each file, once all tables were read."""

    def __init__(self, files: tuple[InputFile, ...], read: Callable[[InputFile], Iterable[pa.Table]]) -> None:
        self.files, self.rows = files, [0] * len(files)
        self._read = read

    @property
    def name(self) -> str:
        """The name of the only file, or the names of the first and the last one."""
        first, last = self.files[0].name, self.files[-1].name
        return first if len(self.files) == 1 else f"{first} to {last}"

    def tables(self) -> Iterator[pa.Table]:
        """Yield the tables of all files in order, with `__source` if there is more than one file."""
        self.rows = [0] * len(self.files)
        for number, file in enumerate(self.files):
            for table in self._read(file):
                self.rows[number] += table.num_rows
                yield _with_source(table, file.name) if len(self.files) > 1 else table


def _with_source(table: pa.Table, name: str) -> pa.Table:
    import pyarrow as pa

    return table.add_column(1, SOURCE, pa.repeat(pa.scalar(name), table.num_rows))
