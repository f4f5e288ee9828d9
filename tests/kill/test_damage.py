"""Whatever befalls one file of the store, the next run ends with the same result, or says which file is damaged."""

from __future__ import annotations

import io
import json
import re
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tests.kill.conftest import Reference
from tests.kill.kill_points import Moment
from tests.kill.kill_workspace import Done, Place, Running
from tests.tables import DAMAGES, damage

GARBAGE = b"\x00\xff garbage {" * 50
# A version or a run that had to be made anew bears another name; all else is the same.
_NAMES = ["prediction_id", "model_version", "trace_id"]


@dataclass(frozen=True)
class Case:
    """A file of a copy of a place, and what is done to it."""

    path: str
    kind: str

    def __str__(self) -> str:
        return f"{self.path} {self.kind}"


def _kinds(place: Place) -> dict[str, str]:
    """Return one file of each kind: those whose paths differ in more than digests and numbers."""
    found: dict[str, str] = {}
    for path in place.files("**/*"):
        name = str(path.relative_to(place.var))
        kind = re.sub(r"\d{4,}|_\d+", "N", re.sub(r"[0-9a-f]{16,}", "H", name))
        found.setdefault(re.sub(r"N-[a-z_]+-([a-z]+\.json)|\w+(\.svg)", r"\1\2", kind), name)
    return found


def _damaged(base: Place, folder: Path, cases: Sequence[Case]) -> list[Place]:
    places = []
    for number, case in enumerate(cases):
        place = Place(folder / f"case-{number}", base.source)
        shutil.copytree(base.var, place.var)
        # An empty file cannot be cut short.
        empty = not (place.var / case.path).stat().st_size
        damage(place.store, case.path, "deleted" if empty else case.kind)
        places.append(place)
    return places


def _again(places: list[Place], folder: Path) -> Iterator[tuple[Place, Done]]:
    """Train and score in each place once more."""
    (folder / "stores.json").write_text(json.dumps([str(place.var) for place in places]))
    shutil.copy(places[0].folder / "pipeline.yaml", folder)
    command = [sys.executable, "-m", "tests.kill.rerun", "stores.json"]
    whole = Running(command, folder, places[0].environment()).end(60 + 10 * len(places))
    assert whole.code == 0, whole.output[-5000:]
    for place, output in zip(places, whole.output.split("\n== store ")[1:], strict=True):
        text, _, code = output.rpartition("\n== ended ")
        yield place, Done(int(code), text)


def _is_the_same_or_said(place: Place, done: Done, case: object, reference: Reference) -> str:
    """Check what became of a damage, and return it in a word."""
    assert "Traceback" not in done.output, f"{case}:\n{done.output}"
    if done.code:
        errors = done.said("ERROR")
        named = [error for error in errors if str(place.var) in error]
        assert named, f"{case}: no error names the file:\n{done.output}"
        assert all("\n" not in error and len(error) < 600 for error in errors), f"{case}: {errors}"
        return f"refused: {named[0]}"
    assert place.outcome() == reference.outcome, f"{case}:\n{done.output}"
    version = place.registry.aliases()["latest"]
    assert _predicted(place, str(version)) == _predicted(reference.place, "model_v1.0"), f"{case}:\n{done.output}"
    return f"the same, as {version}"


def _predicted(place: Place, version: str) -> list[dict[str, Any]]:
    records = place.files(f"predictions/*/{version}/*/manifest.json")
    body = place.store.read_record(str(records[-1].relative_to(place.var)))
    frames = [
        pd.read_parquet(io.BytesIO(place.store.read(part["path"], part["sha256"]))) for part in body["partitions"]
    ]
    return [frame.drop(columns=_NAMES).to_dict() for frame in frames]


def _survive(base: Place, folder: Path, cases: Sequence[Case], reference: Reference) -> dict[str, str]:
    places = _damaged(base, folder, cases)
    found = {
        str(case): _is_the_same_or_said(place, done, case, reference)
        for case, (place, done) in zip(cases, _again(places, folder), strict=True)
    }
    print("\n".join(f"{case}: {became}" for case, became in found.items()))
    return found


@pytest.fixture(scope="session")
def interrupted(reference: Reference, source: Path, tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A place whose training was killed after some checkpoints; whoever asks for it leaves it as it is."""
    place, moment = Place(tmp_path_factory.mktemp("interrupted"), source), Moment("a checkpoint is there", 6)
    running = place.start()
    assert running.until(lambda: moment.has_come(place))
    running.kill()
    return place


@pytest.mark.timeout(2400)
@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(kind, marks=pytest.mark.kill if kind in ("deleted", "a bit flipped") else pytest.mark.soak)
        for kind in DAMAGES
    ],
)
def test_run_survives_every_damage_to_each_file_kind(reference: Reference, tmp_path: Path, kind: str) -> None:
    cases = [Case(path, kind) for path in _kinds(reference.place).values()]
    _survive(reference.place, tmp_path, cases, reference)


@pytest.mark.kill
@pytest.mark.timeout(2400)
def test_killed_training_survives_damaged_checkpoints(interrupted: Place, reference: Reference, tmp_path: Path) -> None:
    files = [str(path.relative_to(interrupted.var)) for path in interrupted.files("checkpoints/*/*/*")]
    assert len(files) >= 5, files
    cases = [Case(path, kind) for path, kind in zip(files, cycle(DAMAGES), strict=False)]
    found = _survive(interrupted, tmp_path, cases, reference)
    assert set(found.values()) == {"the same, as model_v1.0"}


@pytest.mark.soak
@pytest.mark.timeout(2400)
def test_killed_training_survives_damage_to_each_file_kind(
    interrupted: Place, reference: Reference, tmp_path: Path
) -> None:
    cases = [Case(path, kind) for path, kind in zip(_kinds(interrupted).values(), cycle(DAMAGES), strict=False)]
    _survive(interrupted, tmp_path, cases, reference)


@pytest.mark.kill
@pytest.mark.timeout(2400)
def test_leftovers_of_killed_processes_do_not_block_rerun(
    interrupted: Place, reference: Reference, tmp_path: Path
) -> None:
    place = [Place(tmp_path / "left", interrupted.source)]
    shutil.copytree(interrupted.var, place[0].var)
    for folder in {path.parent for path in place[0].files("**/*")}:
        (folder / ".model_v1.0.abc123.part").write_bytes(GARBAGE)
    for lock in place[0].files("**/.lock"):
        lock.write_bytes(GARBAGE)
    models = place[0].var / "models" / "development" / "killed"
    (models / ".publishing-12345678").mkdir(parents=True)
    (models / ".publishing-12345678" / "model.txt").write_bytes(GARBAGE)
    (models / ".lock").write_bytes(GARBAGE)
    [(left, done)] = _again(place, tmp_path)
    assert _is_the_same_or_said(left, done, "leftovers", reference) == "the same, as model_v1.0"
    assert not list(models.glob(".publishing-*"))


@pytest.mark.kill
@pytest.mark.timeout(2400)
def test_multiple_deleted_folders_are_recomputed(reference: Reference, tmp_path: Path) -> None:
    place = Place(tmp_path / "gone", reference.place.source)
    shutil.copytree(reference.place.var, place.var)
    for folder in ("data/loaded", "data/features", "data/trained", "checkpoints", "results/evaluator"):
        shutil.rmtree(place.var / folder)
    [(left, done)] = _again([place], tmp_path)
    assert _is_the_same_or_said(left, done, "gone", reference) == "the same, as model_v1.0"
