"""The run that nothing interrupted, which all others must equal byte for byte."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from deploy.server import Server
from tests.kill.place import Place, write_source


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave every test of this folder to `make check-kill`: together they take a quarter of an hour."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.kill)


@dataclass(frozen=True)
class Reference:
    """What an uninterrupted training and scoring gave, and how long they worked after their first journal event."""

    place: Place
    outcome: dict[str, Any]
    predictions: list[bytes]
    seconds: dict[str, float]

    def is_matched_by(self, place: Place) -> None:
        """Check that a place ended with the very same model, features, scores and predictions, in one version."""
        assert place.outcome() == self.outcome
        assert place.registry.versions() == ["model_v1.0"]
        assert place.registry.aliases() == {"latest": "model_v1.0", "stable": "model_v1.0"}
        assert len(place.registry.history()) == 1
        assert place.predictions() == self.predictions


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_source(tmp_path_factory.mktemp("source"))


@pytest.fixture(scope="session")
def reference(prefect_server: Server, source: Path, tmp_path_factory: pytest.TempPathFactory) -> Reference:
    """A training and a scoring that ran to their end; whoever asks for it leaves it as it is."""
    place, seconds = Place(tmp_path_factory.mktemp("reference"), source), {}
    for flow in ("training", "scoring"):
        known, running = len(place.files("journal/*/0001-*")), place.start(flow)
        assert running.until(lambda known=known: len(place.files("journal/*/0001-*")) > known)
        began = time.monotonic()
        done = running.end()
        assert done.code == 0, done.output
        seconds[flow] = time.monotonic() - began
    return Reference(place, place.outcome(), place.predictions(), seconds)


@pytest.fixture
def place(prefect_server: Server, source: Path, tmp_path: Path) -> Place:
    """A place where nothing has run."""
    return Place(tmp_path, source)
