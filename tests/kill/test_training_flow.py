"""Killed at any moment, as often as one likes, the same command ends with the very same bytes.

`AIW_KILLS` says how often a run is killed at random moments in the full matrix, `make check-kill`.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import count
from pathlib import Path

import pytest

from ai_workflow import journal
from tests.kill import moments
from tests.kill.conftest import Reference
from tests.kill.moments import Moment
from tests.kill.place import EVERY, Done, Place, Running

KILLS = int(os.environ.get("AIW_KILLS", "60"))
# A place is killed this often before it may go on to its end.
_AT_MOST, _AT_ONCE = 4, 2


class Trial:
    """One place where runs are killed; what was done before a kill must not be done again after it."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.kills: list[str] = []
        self._killed: set[str] = set()
        self._step = self._logged = 0
        self._kept: dict[str, int] = {}

    def kill_when(self, there: Callable[[Running], bool], what: str, flow: str = "training") -> bool:
        """Start a run and kill it when `there` says so; False if it came to its end before that."""
        running = self.place.start(flow)
        killed = running.until(lambda: there(running))
        done = running.kill() if killed else running.end()
        self._goes_on_from_there(done)
        if not killed or done.code != -9:
            assert done.code == 0, f"not killed, but failed, {self.kills}:\n{done.output}"
            return False
        self.kills.append(what)
        self._killed |= self.place.locked()
        self._step, self._logged = self.place.checkpoint(), done.step(r"\] ai_pipeline.trainer: step ")
        self._kept = self.place.vouched()
        return True

    def ends_like(self, reference: Reference) -> None:
        """Run both flows to their end, and compare."""
        for flow in ("training", "scoring"):
            done = self.place.run(flow)
            assert done.code == 0, f"{flow} after {self.kills}:\n{done.output}"
            self._goes_on_from_there(done)
        reference.is_matched_by(self.place)
        assert journal.outcome(self.place.events()) == "finished"
        assert not self.place.leftovers("checkpoints")
        assert not list(self.place.var.rglob(".publishing-*"))
        done = self.place.run("recovery")
        assert done.code == 0, done.output
        left = self.place.unfinished(self._killed | self.place.begun())
        assert left == [], f"after {self.kills} and a recovery:\n{done.output}"

    def _goes_on_from_there(self, done: Done) -> None:
        """Check that no finished partition was written again, and at most one checkpoint interval was trained again."""
        if "Restarting from step" in done.output or "No checkpoint found" in done.output:
            assert done.resumed == self._step, f"after {self.kills}:\n{done.output}"
            assert self._logged - done.resumed <= EVERY
        written = self.place.vouched()
        again = [name for name, inode in self._kept.items() if written.get(name) != inode]
        assert not again, f"after {self.kills}"


def _at_random(place: Place, reference: Reference, seed: int) -> list[str]:
    draw, trial = random.Random(seed), Trial(place)
    for flow, most in (("training", draw.randint(1, _AT_MOST)), ("scoring", draw.randint(0, 1))):
        for _ in range(most):
            known, began = len(place.files("journal/*/0001-*")), 0.0
            delay = draw.uniform(0, reference.seconds[flow])

            def due(_: Running, known: int = known, delay: float = delay) -> bool:
                nonlocal began
                time.sleep(0.002)
                if not began and len(place.files("journal/*/0001-*")) > known:
                    began = time.monotonic()
                return bool(began) and time.monotonic() - began >= delay

            if not trial.kill_when(due, f"{flow} +{delay:.2f} s", flow):
                break
        if flow == "training":
            # What scoring needs, whether or not the last run was killed.
            done = place.run("training")
            assert done.code == 0, f"after {trial.kills}:\n{done.output}"
    trial.ends_like(reference)
    return trial.kills


def _killed(reference: Reference, folder: Path, kills: int) -> list[str]:
    """Kill runs at random moments until there are so many kills; several places at once."""
    found: list[str] = []
    seeds = iter(range(10_000))
    while len(found) < kills:
        chosen = [next(seeds) for _ in range(_AT_ONCE)]
        places = [reference.another(folder / f"place-{seed}") for seed in chosen]
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            for one in pool.map(_at_random, places, [reference] * _AT_ONCE, chosen):
                found += one
        print(f"{len(found)} kills survived so far")
    return found


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


@pytest.mark.slow
def test_killed_while_it_saves_and_publishes_it_ends_with_the_same_bytes(reference: Reference, tmp_path: Path) -> None:
    kinds = {"a clean partition is there": 3, "writing a checkpoint": 12, "publishing": 5}
    chosen = [("training", Moment(kind, nth)) for kind, nth in kinds.items()]
    # A file half written may be gone before it is seen; one that stays is not.
    assert len(_at_moments(reference, tmp_path, chosen)) >= 2


@pytest.mark.kill
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", range(max(1, KILLS // 50)))
def test_killed_at_every_kind_of_moment_it_ends_with_the_same_bytes(
    reference: Reference, tmp_path: Path, seed: int
) -> None:
    draw = random.Random(seed)
    chosen = [
        (flow, Moment(kind, draw.randint(1, most)))
        for flow, kinds in (("training", moments.TRAINING), ("scoring", moments.SCORING))
        for kind, most in kinds.items()
    ]
    kills = _at_moments(reference, tmp_path, chosen)
    missed = [str(moment) for _, moment in chosen if str(moment) not in kills]
    print(f"{len(kills)} kills survived; over before it was seen: {missed}")
    # A file half written is there for a moment only, and may be gone before it is seen.
    assert len(kills) >= 0.6 * len(chosen)


@pytest.mark.kill
@pytest.mark.timeout(1200)
def test_killed_at_random_moments_it_ends_with_the_same_bytes(reference: Reference, tmp_path: Path) -> None:
    print("\n".join(_killed(reference, tmp_path, KILLS)))


@pytest.mark.kill
@pytest.mark.timeout(900)
def test_a_perceptron_killed_at_random_ends_with_the_same_bytes(torch_reference: Reference, tmp_path: Path) -> None:
    print("\n".join(_killed(torch_reference, tmp_path, KILLS // 4)))
