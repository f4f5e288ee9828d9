"""Fixtures of the stage tests."""

from __future__ import annotations

import pytest

from ai_workflow.storage.store import Store
from tests.stages.tables import Made, Pipeline, parted, people, settings


@pytest.fixture
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """An empty store, in a folder of its own."""
    return Store(tmp_path_factory.mktemp("var"))


@pytest.fixture(scope="session")
def bought(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A published classifier in a store that no test changes."""
    store = Store(tmp_path_factory.mktemp("bought"))
    return Pipeline(store, settings()).publish(*parted(people().drop(columns="spent"), 3))


@pytest.fixture(scope="session")
def spent(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A published regression in a store that no test changes."""
    store = Store(tmp_path_factory.mktemp("spent"))
    changed = settings(task="regression", target="spent")
    return Pipeline(store, changed).publish(*parted(people().drop(columns="bought"), 3))
