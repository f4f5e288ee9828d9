"""The journal: one small durable file for each thing that happened to a stage; together they are the trace."""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime

from ai_workflow import json_text
from ai_workflow.errors import AiWorkflowError, StoreError
from ai_workflow.secret_values import scrub
from ai_workflow.storage import run_order
from ai_workflow.storage.store import Store
from ai_workflow.telemetry.control_characters import escape

IN_CACHE_KEY = False
FOLDER = "journal"
# What became of a stage. STARTED and nothing after it: it is running, or its process was killed.
STARTED, SUCCESS, CACHED, RESUMED, SKIPPED, ERROR = "STARTED", "SUCCESS", "CACHED", "RESUMED", "SKIPPED", "ERROR"
CANCELLED = "CANCELLED"
RUN = "run"
# Events of others about a run: its process was found gone, it was given a new attempt, or given up.
RECOVERY = "recovery"
# A power cut may take these: how the stage ends is said later, or has been said by an earlier run.
_SAID_AGAIN = (STARTED, CACHED, SKIPPED)
_NAME = re.compile(r"^(\d{4,})-([a-z0-9_]+)-([a-z]+)\.json$")


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened: to `stage`, or to the run as a whole where stage is `run`."""

    trace_id: str
    pipeline: str
    flow: str
    stage: str
    status: str
    message: str = ""
    time: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="milliseconds"))
    seconds: float | None = None
    numbers: dict[str, float] = field(default_factory=dict)
    model_version: str | None = None
    pid: int = field(default_factory=os.getpid)
    host: str = field(default_factory=socket.gethostname)
    flow_run_id: str | None = None


class Journal:
    """Writes and reads the events of runs in a store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    @property
    def place(self) -> str:
        """The absolute path or the URL of the journal."""
        return self._store.url(FOLDER)

    def write(self, event: Event) -> None:
        """Add an event as the next file of its trace; secrets in its message are masked.

        Raises:
            StoreError: it cannot be written.
        """
        folder = f"{FOLDER}/{event.trace_id}"
        body = {**asdict(event), "message": scrub(event.message)}
        data = json_text.document(json_text.finite(body))
        number, written = max(map(_number, self.names(event.trace_id)), default=0), False
        if not number:
            run_order.assign_number(self._store, event.trace_id)
        while not written:
            # Another thread or process of the same trace may have taken the number.
            number += 1
            name = f"{number:04d}-{event.stage}-{event.status.lower()}.json"
            written = self._store.write_new(f"{folder}/{name}", data, flushed=event.status not in _SAID_AGAIN)

    def read(self, trace_id: str) -> list[Event]:
        """Return the events of a trace in order; a damaged file is left out."""
        return list(self._good(trace_id))

    def names(self, trace_id: str) -> list[str]:
        """Return the names of a trace's files, in the order in which they were written."""
        return sort_names(self._store.names(f"{FOLDER}/{trace_id}"))

    def event(self, trace_id: str, name: str) -> Event:
        """Return the event in one file of a trace.

        Raises:
            StoreError: it is missing or damaged.
        """
        path = f"{FOLDER}/{trace_id}/{name}"
        try:
            event = Event(**json.loads(self._store.read(path)))
            datetime.fromisoformat(event.time)
        except (ValueError, TypeError) as error:
            raise StoreError(f"{self._store.url(path)} is damaged: {error}") from error
        return event

    def _good(self, trace_id: str) -> Iterator[Event]:
        for name in self.names(trace_id):
            with contextlib.suppress(StoreError):
                yield self.event(trace_id, name)

    def trace_ids(self) -> list[str]:
        """Return every trace id, the one that began last first, whatever the clock was at its begin.

        Traces without a number, which an earlier version of this project wrote, come last, in the order of their times.
        """
        order, begun = run_order.numbers(self._store), []
        for trace_id in self._store.names(FOLDER):
            first = next(self._good(trace_id), None)
            if first:
                begun.append((order.get(trace_id, 0), first.time, trace_id))
        return [trace_id for *_, trace_id in sorted(begun, reverse=True)]

    def find(self, prefix: str) -> str:
        """Return the one trace id that begins so.

        Raises:
            AiWorkflowError: none does, or several do.
        """
        found = [name for name in self._store.names(FOLDER) if name.startswith(prefix.lower())]
        if len(found) != 1:
            what = "no trace begins" if not found else f"{len(found)} traces begin"
            raise AiWorkflowError(f"{what} with {prefix!r} in {self.place}. `ai-workflow trace --list` shows them")
        return found[0]


def sort_names(names: Iterable[str]) -> list[str]:
    """Return those names that are events, in the order in which they were written."""
    return sorted(filter(_NAME.match, names), key=_number)


def parse_name(name: str) -> tuple[str, str]:
    """Return stage and status of `0004-trainer-success.json`: `trainer`, `SUCCESS`."""
    found = _NAME.match(name)
    assert found is not None
    return found[2], found[3].upper()


def _number(name: str) -> int:
    return int(name.split("-", 1)[0])


def render(events: list[Event]) -> str:
    """Return the step-by-step trace of one run as people read it."""
    lines = [f"[TRACE:{events[0].trace_id[:8]}] {events[0].flow} · {outcome(events)}"]
    for event in _steps(events):
        moment = local_time(event)
        # One line for each stage, whatever an error text holds.
        lines.append(f"  {moment} | {event.stage:<20} | {event.status:<8} | {_one_line(event.message)}")
    return "\n".join(lines)


def _one_line(message: str) -> str:
    return escape(" ".join(message.split()))


def local_time(event: Event) -> str:
    """Return when an event happened, on the clock of whoever reads it."""
    return datetime.fromisoformat(event.time).astimezone().strftime("%Y-%m-%dT%H:%M:%S")


def outcome(events: list[Event]) -> str:
    """Return the state of a run, such as `finished`, `failed in trainer`, `running: trainer` or `killed in trainer`.

    A cancelled run is `cancelled in trainer`, also if its process was killed and recovery closed it.
    """
    gone = events[-1].stage == RECOVERY
    was_cancelled = gone and events[-1].status in (SKIPPED, CANCELLED)
    events = [event for event in events if event.stage != RECOVERY]
    if not events:
        return "cancelled before it began" if was_cancelled else "killed before it began"
    last = events[-1]
    failed = [event.stage for event in events if event.status == ERROR and event.stage != RUN]
    if last.stage == RUN and last.status != STARTED:
        if last.status == ERROR:
            return f"failed in {failed[-1]}" if failed else f"failed: {_one_line(last.message)}"
        if last.status == CANCELLED:
            stopped = [event.stage for event in events if event.status == CANCELLED and event.stage != RUN]
            return f"cancelled in {stopped[-1]}" if stopped else "cancelled"
        return "finished"
    stage = last.stage if last.stage != RUN else "start"
    if was_cancelled or last.status == CANCELLED:
        return f"cancelled in {stage}"
    if failed and last.status == ERROR:
        return f"failed in {failed[-1]}"
    return f"running: {stage}" if not gone and is_alive(last) else f"killed in {stage}"


def is_alive(event: Event) -> bool:
    """Return whether the process that wrote an event lives, or may live: on another host it cannot be determined."""
    if event.host != socket.gethostname():
        return True
    try:
        os.kill(event.pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _steps(events: list[Event]) -> list[Event]:
    """Return one event for each stage visit: how it ended, or that it started and has not ended."""
    steps: list[Event] = []
    for event in events:
        if event.stage == RUN:
            continue
        if steps and steps[-1].stage == event.stage and steps[-1].status == STARTED:
            steps.pop()
        steps.append(event)
    return steps


def numbers_of(result: Mapping[str, object]) -> dict[str, float]:
    """Return the counts of a stage's result that belong into its event."""
    return {
        key: value for key, value in result.items() if isinstance(value, int | float) and not isinstance(value, bool)
    }
