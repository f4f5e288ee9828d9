"""A perceptron that is killed at random moments ends with the very same bytes: the state of its optimiser is kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.kill import random_kills
from tests.kill.conftest import Reference
from tests.kill.random_kills import KILLS


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_torch_training_killed_at_random_gives_identical_model(torch_reference: Reference, tmp_path: Path) -> None:
    print("\n".join(random_kills.kill(torch_reference, tmp_path, max(10, KILLS // 4))))
