"""How many processes train at a time, looked at fifty times a second, whatever else happens meanwhile."""

from __future__ import annotations

import threading
from collections import Counter

from tests.flows.prefect_runs import trainers
from tests.flows.workspace import Workplace


class TrainersWatched:
    """Counts the holders of the checkpoint locks, which the kernel knows, as long as the context lasts."""

    def __init__(self, place: Workplace) -> None:
        self.seen: Counter[int] = Counter()
        self._place, self._over = place, threading.Event()
        self._looking = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> TrainersWatched:
        self._looking.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._looking.join()

    def _look(self) -> None:
        while not self._over.wait(0.02):
            self.seen[trainers(self._place)] += 1
