"""Run journal: one small durable file per stage event; the events of a run are its trace."""

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
# Status of a stage. STARTED without a later event: the stage is running, or its process was killed.
STARTED, SUCCESS, CACHED, RESUMED, SKIPPED, ERROR = "STARTED", "SUCCESS", "CACHED", "RESUMED", "SKIPPED", "ERROR"
CANCELLED = "CANCELLED"
RUN = "run"
# Events of the recovery flow: the process of the run has died, and the run was rescheduled or given up.
RECOVERY = "recovery"
# Not flushed: after a power failure, the end of the stage or an event of an earlier run still has the information.
_UNFLUSHED = (STARTED, CACHED, SKIPPED)
_NAME = re.compile(r"^(\d{4,})-([a-z0-9_]+)-([a-z]+)\.json$")


@dataclass(frozen=True, slots=True)
class Event:
    """An event of a stage, or of the whole run if `stage` is `run`."""

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
    """Events of runs in a store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    @property
    def url(self) -> str:
        """The absolute path or the URL of the journal."""
        return self._store.url(FOLDER)

    def write(self, event: Event) -> None:
        """Write an event as the next file of its trace; secrets in its message are masked.

        Raises:
            StoreError: the event cannot be written.
        """
        folder = f"{FOLDER}/{event.trace_id}"
        body = {**asdict(event), "message": scrub(event.message)}
        data = json_text.document(json_text.finite(body))
        number, written = max(map(_number, self.names(event.trace_id)), default=0), False
        if not number:
            run_order.assign_number(self._store, event.trace_id)
        while not written:
            # Another thread or process of the same trace may have used the number.
            number += 1
            name = f"{number:04d}-{event.stage}-{event.status.lower()}.json"
            written = self._store.write_new(f"{folder}/{name}", data, flushed=event.status not in _UNFLUSHED)

    def read(self, trace_id: str) -> list[Event]:
        """Return the events of a trace in order, without damaged files."""
        return list(self._readable(trace_id))

    def names(self, trace_id: str) -> list[str]:
        """Return the file names of a trace in the order in which they were written."""
        return sort_names(self._store.names(f"{FOLDER}/{trace_id}"))

    def event(self, trace_id: str, name: str) -> Event:
        """Return the event in one file of a trace.

        Raises:
            StoreError: the file is missing or damaged.
        """
        path = f"{FOLDER}/{trace_id}/{name}"
        try:
            event = Event(**json.loads(self._store.read(path)))
            datetime.fromisoformat(event.time)
        except (ValueError, TypeError) as error:
            raise StoreError(f"{self._store.url(path)} is damaged: {error}") from error
        return event

    def _readable(self, trace_id: str) -> Iterator[Event]:
        for name in self.names(trace_id):
            with contextlib.suppress(StoreError):
                yield self.event(trace_id, name)

    def trace_ids(self) -> list[str]:
        """Return all trace IDs, the last started run first, independent of clocks.

        Traces without a number, which earlier releases wrote, come last, ordered by time.
        """
        order, traces = run_order.numbers(self._store), []
        for trace_id in self._store.names(FOLDER):
            first = next(self._readable(trace_id), None)
            if first:
                traces.append((order.get(trace_id, 0), first.time, trace_id))
        return [trace_id for *_, trace_id in sorted(traces, reverse=True)]

    def find(self, prefix: str) -> str:
        """Return the only trace ID with a prefix.

        Raises:
            AiWorkflowError: no trace ID has the prefix, or several have.
        """
        matches = [name for name in self._store.names(FOLDER) if name.startswith(prefix.lower())]
        if len(matches) != 1:
            count = "no trace begins" if not matches else f"{len(matches)} traces begin"
            raise AiWorkflowError(f"{count} with {prefix!r} in {self.url}. `ai-workflow trace --list` shows them")
        return matches[0]


def sort_names(names: Iterable[str]) -> list[str]:
    """Return the names that are event files, in the order in which they were written."""
    return sorted(filter(_NAME.match, names), key=_number)


def parse_name(name: str) -> tuple[str, str]:
    """Return stage and status of `0004-trainer-success.json`: `trainer`, `SUCCESS`."""
    match = _NAME.match(name)
    assert match is not None
    return match[2], match[3].upper()


def _number(name: str) -> int:
    return int(name.split("-", 1)[0])


def render(events: list[Event]) -> str:
    """Return the trace of a run as text, one line per stage."""
    lines = [f"[TRACE:{events[0].trace_id[:8]}] {events[0].flow} · {outcome(events)}"]
    # One line per stage, even if an error text has several lines.
    lines += [
        f"  {local_time(event)} | {event.stage:<20} | {event.status:<8} | {_one_line(event.message)}"
        for event in _steps(events)
    ]
    return "\n".join(lines)


def _one_line(message: str) -> str:
    return escape(" ".join(message.split()))


def local_time(event: Event) -> str:
    """Return the time of an event in the local time zone."""
    return datetime.fromisoformat(event.time).astimezone().strftime("%Y-%m-%dT%H:%M:%S")


def outcome(events: list[Event]) -> str:
    """Return the state of a run, such as `finished`, `failed in trainer`, `running: trainer` or `killed in trainer`.

    A cancelled run is `cancelled in trainer`, even if its process was killed and recovery closed the run.
    """
    is_dead = events[-1].stage == RECOVERY
    was_cancelled = is_dead and events[-1].status in (SKIPPED, CANCELLED)
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
    return f"running: {stage}" if not is_dead and is_alive(last) else f"killed in {stage}"


def is_alive(event: Event) -> bool:
    """Return False only if the process that wrote an event is known to have died; other hosts are assumed alive."""
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
    """Return one event for each stage execution: its end, or its start if it has not ended."""
    steps: list[Event] = []
    for event in events:
        if event.stage == RUN:
            continue
        if steps and steps[-1].stage == event.stage and steps[-1].status == STARTED:
            steps.pop()
        steps.append(event)
    return steps


def numbers_of(result: Mapping[str, object]) -> dict[str, float]:
    """Return the numeric fields of a stage result, for its event."""
    return {
        key: value for key, value in result.items() if isinstance(value, int | float) and not isinstance(value, bool)
    }
