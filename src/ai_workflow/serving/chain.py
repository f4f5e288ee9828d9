"""Asks `latest`, then `stable`, then gives the default response; one absolute deadline for all of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ai_workflow import fallback
from ai_workflow.serving.attempts import Outcome
from ai_workflow.serving.slot import Slot

# The resolution of the event loop's clock.
_CLOCK_SECONDS = 0.001


@dataclass(slots=True, eq=False)
class Answered:
    """What became of a request.

    Args:
        slot: the version that answered; None: nobody did.
        values: its answers, (rows x outputs).
        outcome: why the first one that was asked did not answer.
        reasons: why not, for each version that did not.
    """

    slot: Slot | None
    values: Sequence[float]
    outcome: Outcome | None = None
    reasons: str | None = None

    @property
    def fell_back(self) -> bool:
        """Whether somebody else than latest answered."""
        return self.reasons is not None


@dataclass(frozen=True, slots=True)
class Chain:
    """The versions in the order in which they are asked.

    Args:
        slots: those that are loaded.
        absent: why the version that should be first is not among them, if so.
    """

    slots: tuple[Slot, ...] = ()
    absent: str | None = None

    @property
    def first(self) -> Slot | None:
        """The version that requests are judged by."""
        return self.slots[0] if self.slots else None

    def named(self, name: str) -> Slot | None:
        """Return a version that is loaded, by its name."""
        return next((slot for slot in self.slots if slot.name == name), None)

    async def answer(
        self, rows: int, encoded: Callable[[Slot], bytes | None], end: float, *, expires: bool = False
    ) -> Answered:
        """Return the first answer that comes in time.

        Args:
            rows: how many are asked about.
            encoded: gives them as a version takes them; None where they do not fit it.
            end: the deadline, in the loop's time.
            expires: whether no version is asked after the deadline, since the caller set it.
        """
        time = asyncio.get_running_loop().time
        first: Outcome | None = None
        reasons = self.absent
        for place, slot in enumerate(self.slots, 1):
            data, now = encoded(slot), time()
            outcome: Sequence[float] | Outcome
            if data is None:
                outcome = slot.attempts.refused(Outcome.UNFIT)
            elif expires and now + _CLOCK_SECONDS > end:
                outcome = slot.attempts.refused(Outcome.TIMEOUT)
            else:
                asked = slot.answer(data, rows, fallback.until(now, end, another=place < len(self.slots)))
                outcome = asked if isinstance(asked, Outcome) else await asked
            if not isinstance(outcome, Outcome):
                return Answered(slot, outcome, first, reasons)
            first = first or outcome
            reasons = f"{reasons}; {slot.name}: {outcome.value}" if reasons else f"{slot.name}: {outcome.value}"
        return Answered(None, (), first, reasons or "no version is published")
