"""Fixtures of the trainer tests."""

from __future__ import annotations

import pytest

from ai_workflow.storage.store import Store


@pytest.fixture
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """An empty store, in a folder of its own."""
    return Store(tmp_path_factory.mktemp("var"))
