"""Kills at random moments of a training and a scoring.

`AIW_KILLS` is their number in `make check-kill`, 8 by default and 60 each night.
"""

from __future__ import annotations

import os
import random
import time
from pathlib import Path

from tests.kill.conftest import Reference
from tests.kill.kill_trial import Trial
from tests.kill.kill_workspace import Place, Running

KILLS = int(os.environ.get("AIW_KILLS", "8"))
# A place is killed this often before it may go on to its end.
_AT_MOST = 8


def kill(reference: Reference, folder: Path, kills: int, seed: int = 0) -> list[str]:
    """Kill runs at random moments, one place after the other, until this many kills; the first place has this seed."""
    found: list[str] = []
    while len(found) < kills:
        found += _at_random(reference.another(folder / f"place-{seed}"), reference, seed)
        seed += 1
        print(f"{len(found)} kills survived so far")
    return found


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
