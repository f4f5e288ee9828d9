"""The rows of one epoch after another in batches, from partitions of which one at a time is in memory.

Each epoch goes through the partitions in another order, and through the rows of each in another order. Both follow
from the seed and the epoch, so that three numbers say where it stands.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from ai_workflow.training.protocol import Rows


class Position(NamedTuple):
    """The next row: the epoch, how many partitions of it are done, how many rows of the one after them."""

    epoch: int = 0
    parts: int = 0
    rows: int = 0


class Reader:
    """Reads partitions and keeps the last one, as long as no other is asked for."""

    def __init__(self, parts: Sequence[Rows]) -> None:
        self.parts = [rows for rows in parts if len(rows)]
        self._number, self._held = -1, (np.empty(0), np.empty(0))

    def read(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Return X and y of a partition; drop them before the next is read."""
        if number != self._number:
            self._number, self._held = -1, (np.empty(0), np.empty(0))
            self._held, self._number = self.parts[number].read(), number
        return self._held


class Batches:
    """Batches of rows without end; `position` is where the next one begins, and may be set."""

    def __init__(self, parts: Sequence[Rows], seed: int) -> None:
        self._reader, self._seed = Reader(parts), seed
        self._order: tuple[tuple[int, int], np.ndarray] = (-1, -1), np.empty(0)
        self.position = Position()

    def following(self, size: int) -> tuple[np.ndarray, np.ndarray, Position]:
        """Return X and y of the next rows, fewer than `size` at the end of an epoch, and the position after them."""
        epoch, done, row = self.position
        order = np.random.default_rng([self._seed, epoch]).permutation(len(self._reader.parts))
        pieces: list[tuple[np.ndarray, np.ndarray]] = []
        missing = size
        while missing and done < len(order):
            pieces.append(self._piece(epoch, int(order[done]), row, missing))
            taken = len(pieces[-1][1])
            missing, row = missing - taken, row + taken
            if row == len(self._reader.parts[order[done]]):
                done, row = done + 1, 0
        after = Position(epoch, done, row) if done < len(order) else Position(epoch + 1)
        x, y = zip(*pieces, strict=True)
        return np.concatenate(x), np.concatenate(y), after

    def _piece(self, epoch: int, part: int, row: int, size: int) -> tuple[np.ndarray, np.ndarray]:
        x, y = self._reader.read(part)
        if self._order[0] != (epoch, part):
            # One more than the partition's number: a zero at the end would not change the seed.
            self._order = (epoch, part), np.random.default_rng([self._seed, epoch, part + 1]).permutation(len(y))
        rows = self._order[1][row : row + size]
        return x[rows], y[rows]
