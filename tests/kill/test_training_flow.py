"""Killed at each kind of moment, the same command ends with the very same bytes."""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import partial
from itertools import count
from pathlib import Path

import pytest

from tests.kill import kill_points
from tests.kill.conftest import Reference
from tests.kill.kill_points import Moment
from tests.kill.kill_trial import Trial
from tests.kill.kill_workspace import Place, Running
from tests.kill.random_kills import KILLS


def _has_come(moment: Moment, place: Place, _: Running) -> bool:
    return moment.has_come(place)


def _at_moments(reference: Reference, folder: Path, chosen: Sequence[tuple[str, Moment]]) -> list[str]:
    """Kill runs at the moments in their order, in one place until a run comes to its end there, then in the next."""
    places = (reference.another(folder / f"place-{number}") for number in count())
    trial, kills, trained = Trial(next(places)), [], False
    for flow, moment in chosen:
        if flow == "scoring" and not trained:
            done = trial.place.run("training")
            assert done.code == 0, done.output
            trained = True
        moment.expect(trial.place)
        if trial.kill_when(partial(_has_come, moment, trial.place), str(moment), flow):
            kills.append(str(moment))
        else:
            trial.ends_like(reference)
            trial, trained = Trial(next(places)), False
    trial.ends_like(reference)
    return kills


@pytest.mark.kill
@pytest.mark.timeout(2400)
@pytest.mark.parametrize("seed", range(max(1, KILLS // 50)))
def test_run_killed_at_every_kill_point_gives_identical_model(reference: Reference, tmp_path: Path, seed: int) -> None:
    draw = random.Random(seed)
    chosen = [
        (flow, Moment(kind, draw.randint(1, most)))
        for flow, kinds in (("training", kill_points.TRAINING), ("scoring", kill_points.SCORING))
        for kind, most in kinds.items()
    ]
    kills = _at_moments(reference, tmp_path, chosen)
    missed = [str(moment) for _, moment in chosen if str(moment) not in kills]
    print(f"{len(kills)} kills survived; over before it was seen: {missed}")
    # A file half written is there for a moment only, and may be gone before it is seen.
    assert len(kills) >= 0.6 * len(chosen)
