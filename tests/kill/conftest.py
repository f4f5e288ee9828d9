"""The run that nothing interrupted, which all others must equal byte for byte."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ai_workflow.local.server import Server
from tests.kill.kill_workspace import Place, write_source


@dataclass(frozen=True)
class Reference:
    """What an uninterrupted training and scoring gave, and how long they worked after their first journal event."""

    place: Place
    outcome: dict[str, Any]
    predictions: list[bytes]
    seconds: dict[str, float]

    @classmethod
    def of(cls, place: Place) -> Reference:
        """Run both flows in a place."""
        seconds = {}
        for flow in ("training", "scoring"):
            known, running = len(place.files("journal/*/0001-*")), place.start(flow)
            assert running.until(lambda known=known: len(place.files("journal/*/0001-*")) > known)
            began = time.monotonic()
            done = running.end()
            assert done.code == 0, done.output
            seconds[flow] = time.monotonic() - began
        return cls(place, place.outcome(), place.predictions(), seconds)

    def another(self, folder: Path) -> Place:
        """Return a place with the same pipeline where nothing has run."""
        return Place(folder, self.place.source, **self.place.changes)

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
    return Reference.of(Place(tmp_path_factory.mktemp("reference"), source))


@pytest.fixture(scope="session")
def torch_reference(prefect_server: Server, source: Path, tmp_path_factory: pytest.TempPathFactory) -> Reference:
    """The same for the perceptron, where all that has a state is used."""
    pytest.importorskip("torch", reason="PyTorch is missing. Install it: .venv/bin/pip install -e '.[torch]'")
    params = {"hidden": [16], "learning_rate": 0.01, "dropout": 0.2, "schedule": "cosine"}
    place = Place(tmp_path_factory.mktemp("torch"), source, trainer={"kind": "torch_mlp", "params": params})
    return Reference.of(place)


@pytest.fixture
def place(prefect_server: Server, source: Path, tmp_path: Path) -> Place:
    """A place where nothing has run."""
    return Place(tmp_path, source)
