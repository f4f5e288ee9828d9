"""What the journal promises: every event once, in order, and the truth about a run, a killed one too."""

from __future__ import annotations

import re
import signal
import socket
import threading
from datetime import datetime
from pathlib import Path

import pytest

from ai_workflow.errors import AiWorkflowError
from ai_workflow.secret_values import Secret
from ai_workflow.storage.store import Store
from ai_workflow.telemetry import journal
from ai_workflow.telemetry.journal import (
    CACHED,
    ERROR,
    RECOVERY,
    RESUMED,
    RUN,
    SKIPPED,
    STARTED,
    SUCCESS,
    Event,
    Journal,
)
from tests import processes

ID = "a3f7b2c1" + "0" * 24
WRITE = """
    import sys
    from ai_workflow.telemetry.journal import Event, Journal
    from ai_workflow.storage.store import Store
    for number in range(40):
        Journal(Store(sys.argv[1])).write(Event(sys.argv[2], "p", "training", "trainer", "SUCCESS", sys.argv[3]))
"""
WORK = """
    import sys, time
    from ai_workflow.telemetry.journal import Event, Journal
    from ai_workflow.storage.store import Store
    book = Journal(Store(sys.argv[1]))
    for stage, status in (("run", "STARTED"), ("data_loader", "SUCCESS"), ("trainer", "STARTED")):
        book.write(Event(sys.argv[2], "p", "training", stage, status))
    print("working", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


@pytest.fixture
def book(store: Store) -> Journal:
    return Journal(store)


def _write(book: Journal, *steps: tuple[str, ...], trace_id: str = ID) -> list[Event]:
    for stage, status, *message in steps:
        book.write(Event(trace_id, "credit", "training", stage, status, "".join(message)))
    return book.read(trace_id)


def test_events_are_read_in_order_and_numbered(book: Journal, store: Store) -> None:
    events = _write(book, (RUN, STARTED), ("trainer", STARTED), ("trainer", SUCCESS, "300 steps"))
    assert [(event.stage, event.status) for event in events] == [
        (RUN, STARTED), ("trainer", STARTED), ("trainer", SUCCESS),
    ]  # fmt: skip
    assert store.names(f"journal/{ID}") == ["0001-run-started.json", "0002-trainer-started.json",
                                            "0003-trainer-success.json"]  # fmt: skip


def test_event_round_trips_with_all_fields(book: Journal) -> None:
    event = Event(ID, "p", "training", "trainer", SUCCESS, "ü", seconds=1.5, numbers={"rows": 3}, model_version="v1")
    book.write(event)
    assert book.read(ID) == [event]


def test_event_order_holds_beyond_four_digit_numbers(book: Journal, store: Store) -> None:
    _write(book, ("trainer", STARTED))
    path = f"journal/{ID}/0001-trainer-started.json"
    store.write(f"journal/{ID}/9999-trainer-started.json", store.read(path))
    store.remove(path)
    assert _write(book, ("trainer", SUCCESS), ("evaluator", SUCCESS))[-1].stage == "evaluator"


@pytest.mark.parametrize(
    "damage", [b"", b"{", b"null", b"[1]", b'{"time": "now"}', b"\xff\xfe", b'{"unknown": 1}', None]
)
def test_damaged_event_is_skipped_and_number_not_reused(book: Journal, store: Store, damage: bytes | None) -> None:
    events = _write(book, (RUN, STARTED), ("trainer", STARTED))
    path = f"journal/{ID}/0001-run-started.json"
    store.write(path, store.read(path).replace(b"20", b"2x") if damage is None else damage)
    assert book.read(ID) == events[1:]
    assert book.trace_ids() == [ID]
    _write(book, ("trainer", SUCCESS))
    assert "0003-trainer-success.json" in store.names(f"journal/{ID}")


def test_secret_in_message_is_masked_on_disk(book: Journal, store: Store) -> None:
    Secret("geheim-12345")
    assert _write(book, ("trainer", ERROR, "no login with geheim-12345"))[0].message == "no login with ***"
    assert b"geheim" not in store.read(f"journal/{ID}/0001-trainer-error.json")


@pytest.mark.integration
def test_concurrent_threads_lose_no_event(book: Journal) -> None:
    def write(name: str) -> None:
        for _ in range(40):
            book.write(Event(ID, "p", "training", "trainer", SUCCESS, name))

    threads = [threading.Thread(target=write, args=(name,)) for name in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(event.message for event in book.read(ID)) == ["a"] * 40 + ["b"] * 40 + ["c"] * 40


@pytest.mark.integration
def test_concurrent_processes_lose_no_event(book: Journal, tmp_path: Path) -> None:
    writers = [processes.start(WRITE, tmp_path, ID, name) for name in "ab"]
    assert [writer.communicate(timeout=240)[0] for writer in writers] == ["", ""]
    assert sorted(event.message for event in book.read(ID)) == ["a"] * 40 + ["b"] * 40


@pytest.mark.integration
def test_run_outcome_changes_to_killed_after_process_death(book: Journal, tmp_path: Path) -> None:
    worker = processes.start(WORK, tmp_path, ID)
    assert worker.stdout
    assert worker.stdout.readline() == "working\n"
    assert journal.outcome(book.read(ID)) == "running: trainer"
    worker.send_signal(signal.SIGKILL)
    worker.communicate()
    assert journal.outcome(book.read(ID)) == "killed in trainer"
    assert " | trainer              | STARTED  | " in journal.render(book.read(ID))


def test_run_on_other_host_counts_as_running(book: Journal) -> None:
    book.write(Event(ID, "p", "training", "trainer", STARTED, pid=2**22 + 1, host=f"not-{socket.gethostname()}"))
    assert journal.outcome(book.read(ID)) == "running: trainer"


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ([(RUN, STARTED), ("trainer", SUCCESS), (RUN, SUCCESS)], "finished"),
        ([(RUN, STARTED), ("trainer", ERROR, "no memory"), (RUN, ERROR, "no memory")], "failed in trainer"),
        ([(RUN, STARTED), ("trainer", ERROR, "no memory")], "failed in trainer"),
        ([(RUN, STARTED), (RUN, ERROR, "no configuration")], "failed: no configuration"),
        ([(RUN, STARTED), ("trainer", ERROR), ("trainer", STARTED), ("trainer", SUCCESS), (RUN, SUCCESS)], "finished"),
        ([(RUN, STARTED)], "running: start"),
        ([(RUN, STARTED), ("trainer", STARTED), (RECOVERY, ERROR, "process 7 is gone")], "killed in trainer"),
        ([(RUN, STARTED), (RECOVERY, RESUMED, "attempt 1 of 3"), (RUN, STARTED), (RUN, SUCCESS)], "finished"),
        ([(RUN, STARTED), (RECOVERY, RESUMED, "attempt 1 of 3"), ("trainer", STARTED)], "running: trainer"),
        ([(RECOVERY, RESUMED, "attempt 1 of 3"), (RECOVERY, ERROR, "given up")], "killed before it began"),
    ],
)
def test_run_outcome_follows_from_events(book: Journal, steps: list[tuple[str, ...]], expected: str) -> None:
    assert journal.outcome(_write(book, *steps)) == expected


def test_rendered_trace_matches_documented_format(book: Journal) -> None:
    for moment, stage, status, message in (
        ("2025-01-15T10:00:00", RUN, STARTED, ""),
        ("2025-01-15T10:00:00", "data_loader", STARTED, ""),
        ("2025-01-15T10:00:01", "data_loader", SUCCESS, "15000 records loaded"),
        ("2025-01-15T10:00:03", "preprocessor", CACHED, "14980 records cleaned, 20 rejected"),
        ("2025-01-15T10:00:04", "trainer", STARTED, ""),
        ("2025-01-15T10:05:30", "trainer", ERROR, "CUDA out of memory at step 300"),
        ("2025-01-15T10:05:30", RUN, ERROR, ""),
    ):
        time = datetime.fromisoformat(moment).astimezone().isoformat()
        book.write(Event(ID, "credit", "training", stage, status, message, time=time))
    assert journal.render(book.read(ID)).splitlines() == [
        "[TRACE:a3f7b2c1] training · failed in trainer",
        "  2025-01-15T10:00:01 | data_loader          | SUCCESS  | 15000 records loaded",
        "  2025-01-15T10:00:03 | preprocessor         | CACHED   | 14980 records cleaned, 20 rejected",
        "  2025-01-15T10:05:30 | trainer              | ERROR    | CUDA out of memory at step 300",
    ]


def test_rendered_trace_shows_cached_resumed_skipped_and_retried_stages(book: Journal) -> None:
    steps = [("data_loader", CACHED), ("trainer", STARTED), ("trainer", ERROR), ("trainer", STARTED),
             ("trainer", RESUMED), ("evaluator", SKIPPED)]  # fmt: skip
    shown = re.findall(r"\| (\w+) +\| (\w+) +\|", journal.render(_write(book, *steps)))
    assert shown == [("data_loader", CACHED), ("trainer", ERROR), ("trainer", RESUMED), ("evaluator", SKIPPED)]


def test_trace_is_found_by_id_prefix(book: Journal) -> None:
    other = "a3ff" + "0" * 28
    _write(book, (RUN, STARTED))
    _write(book, (RUN, STARTED), trace_id=other)
    assert (book.find("A3F7"), book.find(other)) == (ID, other)
    with pytest.raises(AiWorkflowError, match=r"no trace begins with 'beef' in .*journal.*--list"):
        book.find("beef")
    with pytest.raises(AiWorkflowError, match="2 traces begin with 'a3f'"):
        book.find("a3f")


@pytest.mark.integration
def test_runs_are_listed_newest_first(book: Journal, store: Store, tmp_path: Path) -> None:
    _write(book, (RUN, STARTED))
    text = store.read(f"journal/{ID}/0001-run-started.json").decode()
    ids = [f"{number:032x}" for number in range(1000)]
    for number, trace_id in enumerate(ids):
        folder = tmp_path / "journal" / trace_id
        folder.mkdir()
        moment = f"2020-01-01T00:{number // 60:02d}:{number % 60:02d}+00:00"
        (folder / "0001-run-started.json").write_text(re.sub('"time": ".*"', f'"time": "{moment}"', text))
    assert book.trace_ids() == [ID, *reversed(ids)]


def test_numeric_result_fields_become_event_numbers() -> None:
    assert journal.numbers_of({"rows": 3, "auc": 0.5, "ok": True, "path": "x"}) == {"rows": 3, "auc": 0.5}
