"""Moments at which a run can be killed, seen from the outside: what lies in the store at that instant."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.kill.kill_workspace import Place, names

PART = ".part"


@dataclass
class Moment:
    """The instant at which the `nth` thing of a kind is there, counted from when the run began."""

    kind: str
    nth: int = 1
    _known: set[str] = field(default_factory=set)
    _seen: set[str] = field(default_factory=set)

    def expect(self, place: Place) -> None:
        """Take what is there already for known."""
        self._known, self._seen = set(KINDS[self.kind](place.var)), set()

    def has_come(self, place: Place) -> bool:
        self._seen.update(KINDS[self.kind](place.var))
        return len(self._seen - self._known) >= self.nth

    def __str__(self) -> str:
        return f"{self.kind} #{self.nth}"


def _parts(*folders: str) -> Callable[[Path], Iterator[str]]:
    """Files half written in folders; a pattern's last part may be any one folder."""

    def look(var: Path) -> Iterator[str]:
        for folder in folders:
            for place in _places(var, folder):
                yield from (name for name in names(place) if name.endswith(PART))

    return look


def _there(*folders: str, suffix: str = "", prefix: str = "") -> Callable[[Path], Iterator[str]]:
    """Files whole in folders."""

    def look(var: Path) -> Iterator[str]:
        for folder in folders:
            for place in _places(var, folder):
                found = (name for name in names(place) if not name.endswith(PART))
                yield from (
                    f"{place.name}/{name}" for name in found if name.endswith(suffix) and name.startswith(prefix)
                )

    return look


def _places(var: Path, folder: str) -> Iterator[Path]:
    places = [var]
    for name in folder.split("/"):
        places = [place / inner for place in places for inner in ([name] if name != "*" else names(place))]
    yield from places


def _state_without_record(var: Path) -> Iterator[str]:
    for place in _places(var, "checkpoints/*/*"):
        found = set(names(place))
        yield from (name for name in found if name.endswith(".state") and f"{name[:-6]}.json" not in found)


def _placed_without_alias(var: Path) -> Iterator[str]:
    for place in _places(var, "models/*/*"):
        found = set(names(place))
        if "aliases.json" not in found:
            yield from (name for name in found if name.startswith("model_v"))


def _being_published(var: Path) -> Iterator[str]:
    for place in _places(var, "models/*/*"):
        for folder in names(place):
            if folder.startswith(".publishing-"):
                yield from (f"{folder}/{name}" for name in ["", *names(place / folder)])


KINDS: dict[str, Callable[[Path], Iterator[str]]] = {
    "writing a loaded partition": _parts("data/loaded"),
    "a loaded partition is there": _there("data/loaded", suffix=".parquet"),
    "result of the loader": _there("results/data_loader/*"),
    "writing a clean partition": _parts("data/clean"),
    "a clean partition is there": _there("data/clean", suffix=".parquet"),
    "writing a list of partitions": _parts("data/datasets"),
    "a partition's statistics": _there("data/statistics"),
    "writing features": _parts("data/features"),
    "features are there": _there("data/features", suffix=".parquet"),
    "result of the features": _there("results/feature_engineering/*"),
    "writing a checkpoint": _parts("checkpoints/*/*"),
    "a state without its record": _state_without_record,
    "a checkpoint is there": _there("checkpoints/*/*", suffix=".json", prefix="model_step_"),
    "writing the model": _parts("data/trained/*"),
    "the model is there": _there("data/trained/*", suffix=".txt"),
    "result of the trainer": _there("results/trainer/*"),
    "writing the evaluation": _parts("data/evaluated/*"),
    "a file of the evaluation": _there("data/evaluated/*"),
    "result of the evaluator": _there("results/evaluator/*"),
    "publishing": _being_published,
    "a version no alias points at": _placed_without_alias,
    "writing aliases or history": _parts("models/*/*"),
    "aliases are there": _there("models/*/*", prefix="aliases"),
    "result of the registry": _there("results/registry/*"),
    "writing the journal": _parts("journal/*"),
    "writing scores": _parts("data/scored"),
    "scores are there": _there("data/scored", suffix=".parquet"),
    "writing predictions": _parts("predictions/*/*/*"),
    "predictions are there": _there("predictions/*/*/*", suffix=".parquet"),
    "result of the result store": _there("results/result_store/*"),
}
# In the order in which a run comes to them, so that one place can be killed at each; how many there are to choose from.
TRAINING = {
    "writing the journal": 1, "writing a loaded partition": 3, "a loaded partition is there": 3,
    "result of the loader": 1, "writing a clean partition": 3, "a clean partition is there": 3,
    "writing a list of partitions": 1, "a partition's statistics": 5, "writing features": 3, "features are there": 3,
    "result of the features": 1, "writing a checkpoint": 9, "a state without its record": 4,
    "a checkpoint is there": 3, "writing the model": 1, "the model is there": 1, "result of the trainer": 1,
    "writing the evaluation": 2, "a file of the evaluation": 2, "result of the evaluator": 1, "publishing": 8,
    "a version no alias points at": 1, "writing aliases or history": 1, "aliases are there": 1,
    "result of the registry": 1,
}  # fmt: skip
SCORING = {
    "writing scores": 3, "scores are there": 3, "writing predictions": 2, "predictions are there": 4,
    "result of the result store": 1,
}  # fmt: skip
