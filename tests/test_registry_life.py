"""The life of versions in any order of events: what holds after each of them, whatever came before."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from ai_workflow.config.settings import Retention
from ai_workflow.errors import AiWorkflowError
from ai_workflow.registry import leases, promotion, pruning, publication
from ai_workflow.registry.registry import Registry
from ai_workflow.storage.store import Store
from tests.registry_checks import FOLDER, is_sound

POLICY = Retention(versions=2, min_age_hours=0)
PICKED = st.integers(0, 9)
# How many files a call may still write before its process "dies".
WRITES = st.integers(0, 7)


class Died(BaseException):
    """The process is gone: nothing after this runs, no handler of errors either."""


class Life(RuleBasedStateMachine):
    """Publishers, people, readers and pruners at one registry, some of whom die in the middle."""

    @initialize(versions=st.integers(0, 6))
    def begin(self, versions: int) -> None:
        """Begin with some versions, or none."""
        self.place = tempfile.TemporaryDirectory()
        self.store = Store(Path(self.place.name))
        self.held: list[tuple[str, contextlib.ExitStack]] = []
        self.pinned: set[str] = set()
        for _ in range(versions):
            self.publish()

    def teardown(self) -> None:
        for _, stack in self.held:
            stack.close()
        self.place.cleanup()

    @property
    def registry(self) -> Registry:
        """Each caller is another process, which knows only what is on disk."""
        return Registry(self.store, FOLDER)

    def _pick(self, number: int) -> str | None:
        names = self.registry.versions()
        return names[number % len(names)] if names else None

    @rule()
    def publish(self) -> None:
        before = self.registry.versions()
        made = publication.publish(self.registry, {"model.txt": b"m" * 100}, "schema", {})
        assert made.name not in before
        assert self.registry.aliases()["latest"] == made.name
        assert not is_sound(self.registry), "what a killed publisher left is told by the next"

    @rule(number=PICKED)
    def promote(self, number: int) -> None:
        if name := self._pick(number):
            assert (promotion.promote(self.registry, name, "test") or self.registry.state()).stable == name

    @rule()
    def roll_back(self) -> None:
        stable = self.registry.aliases()["stable"]
        if stable:
            assert (promotion.roll_back(self.registry, "test") or self.registry.state()).latest == stable

    @rule(number=PICKED)
    def pin(self, number: int) -> None:
        if name := self._pick(number):
            self.pinned.add(pruning.pin(self.registry, name, "test"))

    @rule()
    def unpin(self) -> None:
        if self.pinned:
            pruning.unpin(self.registry, self.pinned.pop(), "test")

    @rule(number=PICKED)
    def lease(self, number: int) -> None:
        if name := self._pick(number):
            stack = contextlib.ExitStack()
            stack.enter_context(self.registry.leased(name, "test"))
            self.held.append((name, stack))

    @rule()
    def release(self) -> None:
        if self.held:
            self.held.pop(0)[1].close()

    @rule()
    def expire(self) -> None:
        """A holder elsewhere crashed long ago: its lease counts for nothing."""
        if name := self._pick(0):
            path = f"{FOLDER}/leases/{name}.0123abcd.json"
            self.store.write(path, b'{"version": "x", "purpose": "gone", "host": "elsewhere", "boot": "x", "pid": 1}')

    @rule()
    def prune(self) -> None:
        before = self.registry.versions()
        done = pruning.prune(self.registry, POLICY, before, "test")
        self._nothing_needed_is_among({item.name for item in done.deleted})
        assert self.registry.versions() == [name for name in before if name not in {i.name for i in done.deleted}]

    @rule(writes=WRITES)
    def die_while_publishing(self, writes: int) -> None:
        self._die(writes, lambda: publication.publish(self.registry, {"model.txt": b"m" * 100}, "schema", {}))

    @rule(writes=WRITES)
    def die_while_pruning(self, writes: int) -> None:
        self._die(writes, lambda: pruning.prune(self.registry, POLICY, self.registry.versions(), "test"))

    @rule(writes=WRITES, number=PICKED)
    def die_while_promoting(self, writes: int, number: int) -> None:
        self._die(writes, lambda: promotion.promote(self.registry, self._pick(number) or "latest", "test"))

    @rule(writes=WRITES, number=PICKED)
    def die_while_pinning(self, writes: int, number: int) -> None:
        self._die(writes, lambda: pruning.pin(self.registry, self._pick(number) or "latest", "test"))

    def _die(self, writes: int, act: Callable[[], object]) -> None:
        """Do something in a process that dies after so many writes."""
        before = self.registry.versions()
        with pytest.MonkeyPatch.context() as patch, contextlib.suppress(Died, AiWorkflowError):
            _dying(patch, writes)
            act()
        self.pinned = set(self.registry.state().pins)
        self._nothing_needed_is_among(set(before) - set(self.registry.versions()))

    @invariant()
    def all_is_sound(self) -> None:
        """The aliases point at whole versions, what is leased or pinned is there, and the history tells it all."""
        is_sound(self.registry)
        assert {name for name, _ in self.held} | self.pinned <= set(self.registry.versions())
        assert set(self.registry.state().pins) == self.pinned

    def _nothing_needed_is_among(self, gone: set[str]) -> None:
        needed = {*filter(None, self.registry.aliases().values()), *self.pinned, *(name for name, _ in self.held)}
        assert not gone & needed


def _dying(patch: pytest.MonkeyPatch, writes: int) -> None:
    """Let each way to change a file end the process once so many changes were made."""
    left = [writes]

    def count(name: str) -> None:
        real = getattr(Store, name)

        def counted(*given: object, **more: object) -> object:
            if not left[0]:
                raise Died
            left[0] -= 1
            return real(*given, **more)

        patch.setattr(Store, name, counted)

    for name in ("write", "remove"):
        count(name)
    rename = Path.rename

    def renamed(self: Path, target: Path) -> Path:
        if not left[0]:
            raise Died
        return rename(self, target)

    patch.setattr(Path, "rename", renamed)


@pytest.fixture(autouse=True, scope="module")
def _quick() -> object:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(leases, "HEARTBEAT_SECONDS", 0.001)
        patch.setattr(leases, "SILENCE_SECONDS", 0.0)
        yield


Life.TestCase.pytestmark = [pytest.mark.slow]
Life.TestCase.settings = settings(
    max_examples=30, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)
test_in_any_order_of_events_all_is_sound = Life.TestCase
