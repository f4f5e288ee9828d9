"""Shuffled mini-batches over epochs, with one partition in memory at a time.

Each epoch shuffles the partitions and the rows of each partition. Both orders are functions of the seed and the epoch,
so that epoch, partition and row are enough to resume.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from ai_workflow.training.protocol import Rows


class Position(NamedTuple):
    """Position of the next row: epoch, completed partitions of it, and completed rows of the next partition."""

    epoch: int = 0
    parts: int = 0
    rows: int = 0


class WeightedRows:
    """Rows whose `read` returns y with the weights: (n, 2) float64."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    def read(self) -> tuple[np.ndarray, np.ndarray]:
        """Return X and (n, 2): y and the weights."""
        x, y = self._rows.read()
        return x, np.column_stack([y, self._rows.weights()])

    def weights(self) -> np.ndarray:
        """Return the (n,) weights."""
        return self._rows.weights()


class PartitionReader:
    """Reader of partitions that keeps the last one in memory until another is read."""

    def __init__(self, parts: Sequence[Rows]) -> None:
        self.parts = [rows for rows in parts if len(rows)]
        self._number = -1
        self._data = (np.empty(0), np.empty(0))

    def read(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Return X and y of a partition; the caller must drop them before it reads the next one."""
        if number != self._number:
            # The previous partition is freed first, so that two are never in memory.
            self._number = -1
            self._data = (np.empty(0), np.empty(0))
            self._data = self.parts[number].read()
            self._number = number
        return self._data


class Batches:
    """Endless sequence of batches; `position` is the start of the next batch, and can be set."""

    def __init__(self, parts: Sequence[Rows], seed: int) -> None:
        self._reader, self._seed = PartitionReader(parts), seed
        self._order: tuple[tuple[int, int], np.ndarray] = (-1, -1), np.empty(0)
        self.position = Position()

    def next_batch(self, size: int) -> tuple[np.ndarray, np.ndarray, Position]:
        """Return X and y of the next rows, fewer than `size` at the end of an epoch, and the position after them."""
        epoch, part, row = self.position
        order = np.random.default_rng([self._seed, epoch]).permutation(len(self._reader.parts))
        pieces: list[tuple[np.ndarray, np.ndarray]] = []
        missing = size
        while missing and part < len(order):
            pieces.append(self._read(epoch, int(order[part]), row, missing))
            count = len(pieces[-1][1])
            missing, row = missing - count, row + count
            if row == len(self._reader.parts[order[part]]):
                part, row = part + 1, 0
        next_position = Position(epoch, part, row) if part < len(order) else Position(epoch + 1)
        x, y = zip(*pieces, strict=True)
        return np.concatenate(x), np.concatenate(y), next_position

    def _read(self, epoch: int, part: int, row: int, size: int) -> tuple[np.ndarray, np.ndarray]:
        x, y = self._reader.read(part)
        if self._order[0] != (epoch, part):
            # `part + 1`, because NumPy ignores a trailing zero in a seed.
            self._order = (epoch, part), np.random.default_rng([self._seed, epoch, part + 1]).permutation(len(y))
        rows = self._order[1][row : row + size]
        return x[rows], y[rows]
