"""Each guard in tests/guards.py quotes a text that its file has exactly once; tests/test_guards.py removes it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.guards import GUARDS, Guard

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize("guard", GUARDS, ids=lambda guard: guard.name)
def test_guard_text_occurs_once_in_its_file(guard: Guard) -> None:
    assert (ROOT / guard.file).read_text().count(guard.text) == 1
