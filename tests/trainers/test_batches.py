"""What batches promise: each epoch every row once, another order each time, and three numbers to go on from."""

from __future__ import annotations

from itertools import chain, pairwise

import numpy as np
import pytest

from ai_workflow.training.batches import Batches, Position
from tests.trainers.training_rows import Held


def numbered(*counts: int) -> list[Held]:
    ends = np.cumsum([0, *counts])
    rows = [np.arange(start, stop, dtype="float64") for start, stop in pairwise(ends)]
    return [Held(each[:, None].astype("float32"), each) for each in rows]


def epochs(batches: Batches, size: int, count: int) -> list[list[list[float]]]:
    found: list[list[list[float]]] = [[] for _ in range(count)]
    while (epoch := batches.position.epoch) < count:
        x, y, batches.position = batches.next_batch(size)
        assert x[:, 0].tolist() == y.tolist()
        found[epoch].append(y.tolist())
    return found


@pytest.mark.parametrize("counts", [(10,), (4, 0, 7, 1, 13), (1, 1, 1)])
@pytest.mark.parametrize("size", [1, 3, 5, 25, 100])
def test_epoch_contains_every_row_once_in_full_batches(counts: tuple[int, ...], size: int) -> None:
    for epoch in epochs(Batches(numbered(*counts), 0), size, 3):
        assert sorted(chain(*epoch)) == list(range(sum(counts)))
        assert {len(batch) for batch in epoch[:-1]} <= {size}


def test_row_order_depends_on_epoch_and_seed_only() -> None:
    orders = [[list(chain(*epoch)) for epoch in epochs(Batches(numbered(9, 9, 9), seed), 4, 3)] for seed in (0, 0, 1)]
    assert orders[0] == orders[1]
    assert len({tuple(order) for order in orders[0] + orders[2]}) == 6
    # The rows of a partition stay together: it is read once.
    assert all(len({int(row) // 9 for row in order[start : start + 9]}) == 1 for order in orders[0] for start in (0, 9))


def test_batches_resume_from_any_position() -> None:
    parts = numbered(5, 0, 8, 3)
    batches = Batches(parts, 7)
    for _ in range(20):
        fresh = Batches(parts, 7)
        fresh.position = Position(*list(batches.position))
        _, y, batches.position = batches.next_batch(3)
        assert (fresh.next_batch(3)[1].tolist(), fresh.next_batch(3)[2]) == (y.tolist(), batches.position)


def test_uncommitted_batch_is_repeated() -> None:
    batches = Batches(numbered(10, 10), 0)
    assert batches.next_batch(15)[1].tolist() == batches.next_batch(15)[1].tolist()
    assert batches.next_batch(4)[1].tolist() == batches.next_batch(15)[1].tolist()[:4]
