"""The same raw cell gives the same bytes and the same score in a batch and over HTTP, or both refuse it.

Pipelines, cells, JSON values and typed tables are drawn; each is trained, published, scored by the stages of the
scoring flow, and sent to the service in requests of drawn sizes.
"""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.semantics.batch_http_comparison import drawn_world

pytestmark = pytest.mark.integration

QUICK_ROWS = 200
# Each of the slow worlds compares three times as many rows.
WORLDS, ROWS = range(9), 100


@settings(
    derandomize=True, database=None, deadline=None, phases=[Phase.generate], max_examples=1,
    suppress_health_check=list(HealthCheck),
)  # fmt: skip
@given(seed=st.integers(0, 2**32))
@pytest.mark.slow
def test_random_rows_score_equally_in_batch_and_http(tmp_path_factory: pytest.TempPathFactory, seed: int) -> None:
    world = drawn_world(tmp_path_factory.mktemp("world"), random.Random(seed), 7)
    world.pipeline.has_process = False
    with world.door:
        assert world.raw_cells(100) + world.json_values(50) + world.typed_tables(50) == QUICK_ROWS


@pytest.mark.timeout(1200)
@pytest.mark.parametrize(
    "seed", [pytest.param(seed, marks=pytest.mark.slow if seed < 3 else pytest.mark.soak) for seed in WORLDS]
)
def test_many_random_rows_score_equally_in_batch_and_http(tmp_path: Path, seed: int) -> None:
    world = drawn_world(tmp_path, random.Random(seed), 9)
    with world.door:
        compared = world.raw_cells(ROWS)
        # The process of the model has shown that it answers as its function does.
        world.pipeline.has_process = False
        assert compared + world.json_values(ROWS) + world.typed_tables(ROWS) == 3 * ROWS


def test_slow_comparison_covers_minimum_row_count() -> None:
    assert len(WORLDS) * 3 * ROWS >= 2_000
