"""The fallback chain: `latest`, then `stable`, then the default response, within one absolute deadline."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ai_workflow.inference import fallback
from ai_workflow.serving.attempt_metrics import Outcome
from ai_workflow.serving.routing.job_queue import Answers
from ai_workflow.serving.routing.served_model import Slot

# The resolution of the event loop's clock.
_CLOCK_SECONDS = 0.001
NOT_LOADED, NOT_PUBLISHED = "not_loaded", "not_published"


@dataclass(frozen=True, slots=True)
class Failure:
    """A version that did not answer a request.

    Args:
        version: its name; empty where there is none.
        reason: why, as in the label of `inference_fallback_total`.
        seconds: how long it was waited for; 0: the request was not put to it.
        text: the same in words, where a version was not loaded or there is none.
    """

    version: str
    reason: str
    seconds: float = 0.0
    text: str = ""

    def __str__(self) -> str:
        """Return `version: reason`."""
        return self.text or f"{self.version}: {self.reason}"


UNPUBLISHED = Failure("", NOT_PUBLISHED, text="no version is published")


@dataclass(slots=True, eq=False)
class Answered:
    """The outcome of a request.

    Args:
        slot: the version that answered; None: none did.
        values: its answers, (rows x outputs).
        failures: the versions before it, in their order.
        seconds: how long the version that answered took.
        last: why the last version that was asked did not answer.
    """

    slot: Slot | None
    values: Sequence[float]
    failures: Sequence[Failure] = ()
    seconds: float = 0.0
    last: Outcome | None = None

    @property
    def fell_back(self) -> bool:
        """Whether the first version in line did not answer."""
        return bool(self.failures)

    @property
    def is_expired(self) -> bool:
        """Whether the first version in line did not answer because the deadline of the caller had passed."""
        return bool(self.failures) and self.failures[0].reason == Outcome.EXPIRED

    @property
    def reasons(self) -> str | None:
        """Return why not, for each version that did not answer."""
        return "; ".join(map(str, self.failures)) or None

    @property
    def attempts(self) -> str:
        """Return each version that was tried, with its outcome and seconds, for the log."""
        made = [f"{failure} after {failure.seconds:.4f} s" for failure in self.failures]
        made += [f"{self.slot.name}: answered after {self.seconds:.4f} s"] if self.slot else ["no version answered"]
        return "; ".join(made)

    @property
    def slowest(self) -> float:
        """Return the seconds of the version that took the longest."""
        return max(self.seconds, *(failure.seconds for failure in self.failures), 0.0)


@dataclass(frozen=True, slots=True)
class Chain:
    """The versions in the order in which they are asked.

    Args:
        slots: those that are loaded.
        absent: why the version that should be first is not among them, if so.
        missing: why later versions are not among them.
    """

    slots: tuple[Slot, ...] = ()
    absent: Failure | None = None
    missing: tuple[Failure, ...] = ()

    @property
    def first(self) -> Slot | None:
        """The version that requests are checked against."""
        return self.slots[0] if self.slots else None

    @property
    def absence(self) -> str | None:
        """Return why the version that should be first is not loaded, in words."""
        return str(self.absent) if self.absent else None

    def named(self, name: str) -> Slot | None:
        """Return a version that is loaded, by its name."""
        return next((slot for slot in self.slots if slot.name == name), None)

    async def answer(
        self,
        rows: int,
        encoded: Callable[[Slot], bytes | None],
        end: float,
        trace_id: str = "",
        *,
        expires: bool = False,
    ) -> Answered:
        """Return the first answer that comes in time, and count what each version did.

        Args:
            rows: how many are asked about.
            encoded: gives them as a version takes them; None where they do not fit it.
            end: the deadline, in the loop's time.
            trace_id: of the request.
            expires: whether the caller set the deadline: after it no version gets the request, and none counts as late.
        """
        time = asyncio.get_running_loop().time
        failures = [self.absent] if self.absent else []
        last: Outcome | None = None
        for place, slot in enumerate(self.slots, 1):
            data, began = encoded(slot), time()
            until = fallback.until(began, end, another=place < len(self.slots))
            sent: Answers | Outcome
            if data is None:
                sent = Outcome.UNFIT
            elif expires and began + _CLOCK_SECONDS > end:
                sent = Outcome.EXPIRED
            else:
                sent = slot.answer(data, rows, until, expires=expires)
            if isinstance(sent, Outcome):
                slot.attempts.refused(sent, trace_id)
                failures.append(Failure(slot.name, sent.value))
                last = sent if sent in (Outcome.BUSY, Outcome.TIMEOUT, Outcome.EXPIRED) else last
                continue
            outcome = await sent
            seconds = time() - began
            if not isinstance(outcome, Outcome):
                slot.attempts.answered(seconds, trace_id, fell_back=bool(failures))
                return Answered(slot, outcome, failures, seconds)
            slot.attempts.failed(outcome, seconds, trace_id)
            failures.append(Failure(slot.name, outcome.value, seconds))
            last = outcome
        return Answered(None, (), [*failures, *self.missing] or [UNPUBLISHED], last=last)
