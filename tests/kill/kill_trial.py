"""A place where runs are killed, and what must hold after each kill."""

from __future__ import annotations

from collections.abc import Callable

from ai_workflow.telemetry import journal
from tests.kill.conftest import Reference
from tests.kill.kill_workspace import EVERY, Done, Place, Running


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
