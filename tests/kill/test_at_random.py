"""Killed at random moments, the same command ends with the very same bytes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.kill import random_kills
from tests.kill.conftest import Reference
from tests.kill.random_kills import KILLS


@pytest.mark.kill
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", [0, 500])
def test_training_killed_at_random_gives_identical_model(reference: Reference, tmp_path: Path, seed: int) -> None:
    print("\n".join(random_kills.kill(reference, tmp_path, KILLS // 2, seed)))
