"""Fixtures of the service's tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.serving import published_models
from tests.serving.running_service import Running, of_two_versions


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A store with two versions: model_v1.0 is stable, model_v1.1 latest."""
    place = tmp_path / "store"
    published_models.publish(place, 0)
    published_models.publish(place, 1)
    return place


@pytest.fixture
def faults(tmp_path: Path) -> Path:
    """The folder that says how versions fail."""
    folder = tmp_path / "faults"
    folder.mkdir()
    return folder


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One service for the tests of a module that leave it as it is."""
    with of_two_versions(tmp_path_factory.mktemp("service")) as running:
        yield running
