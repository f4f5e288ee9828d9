"""What the exporter reads off the journal is what happened: incrementally, after a restart, and past damage."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ai_workflow.exporter.failures import Failures
from ai_workflow.exporter.journal_folders import SCAN_ROUNDS
from ai_workflow.exporter.journal_source import JournalSource
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
from tests.monitoring.exporter.exporter_stores import SOURCES, Book, looked, told

STAGES = ("data_loader", "trainer", "registry")
_rooms = count()


@pytest.fixture(params=["disk", "objects"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return Store(tmp_path / "var" if request.param == "disk" else f"objects://exporter-{next(_rooms)}")


@pytest.fixture
def failures() -> Failures:
    return Failures(SOURCES)


def failed(failures: Failures) -> dict[str, float]:
    return {sample.labels[0]: sample.value for sample in failures.samples() if sample.value}


def test_finished_run_exports_run_and_stage_metrics(store: Store) -> None:
    Book(store).run(0, SUCCESS, *STAGES)
    assert looked(store) == {
        "pipeline_last_start_timestamp_seconds{credit,training}": 0,
        "pipeline_last_end_timestamp_seconds{credit,training}": 30,
        "pipeline_last_success_timestamp_seconds{credit,training}": 30,
        "pipeline_last_run_failed{credit,training}": 0,
        "pipeline_last_run_duration_seconds{credit,training}": 30,
        f"pipeline_run_info{{credit,training,last_started,,{'a' * 32}}}": 1,
        f"pipeline_run_info{{credit,training,last_ended,,{'a' * 32}}}": 1,
        "pipeline_run_active{credit,training}": 0,
        "training_run_active{credit}": 0,
        "training_last_run_failed{credit}": 0,
        "training_last_end_timestamp_seconds{credit}": 30,
        **{
            f"pipeline_stage_{name}{{credit,{stage}}}": value
            for number, stage in enumerate(STAGES, 1)
            for name, value in {
                "last_success_timestamp_seconds": 10 * number, "last_duration_seconds": 10, "last_failed": 0,
                "last_rows": 100 * number,
            }.items()
        },
    }  # fmt: skip


def test_failed_run_keeps_last_success_timestamps(store: Store) -> None:
    Book(store, "a" * 32).run(0, SUCCESS, *STAGES)
    Book(store, "b" * 32).run(1000, ERROR, "data_loader", "trainer")
    found = looked(store)
    assert found["pipeline_last_success_timestamp_seconds{credit,training}"] == 30
    assert found["pipeline_last_end_timestamp_seconds{credit,training}"] == 1020
    assert found["pipeline_last_run_failed{credit,training}"] == 1
    assert found["pipeline_stage_last_failed{credit,data_loader}"] == 0
    assert found["pipeline_stage_last_failed{credit,trainer}"] == 1
    assert found["pipeline_stage_last_success_timestamp_seconds{credit,trainer}"] == 20
    assert found["pipeline_stage_last_success_timestamp_seconds{credit,registry}"] == 30


def infos(store: Store) -> set[str]:
    name = "pipeline_run_info{credit,training,"
    return {found.removeprefix(name).rstrip("}") for found in looked(store) if found.startswith(name)}


def test_run_info_has_trace_id_and_failed_stage(store: Store) -> None:
    first, second, third = ("a" * 32, "b" * 32, "c" * 32)
    Book(store, first).run(0, ERROR, "data_loader", "trainer")
    assert infos(store) == {f"last_started,trainer,{first}", f"last_ended,trainer,{first}"}
    running = Book(store, second)
    running.say(RUN, STARTED, 100)
    running.say("preprocessor", STARTED, 101)
    assert infos(store) == {f"last_started,preprocessor,{second}", f"last_ended,trainer,{first}"}
    # The next run begins: that one was killed, in its stage.
    Book(store, third).say(RUN, STARTED, 200)
    assert f"last_started,,{third}" in infos(store)
    Book(store, third).say(RUN, SUCCESS, 210, 10.0)
    assert infos(store) == {f"last_started,,{third}", f"last_ended,,{third}"}


def test_successful_retry_clears_failed_stage(store: Store) -> None:
    book = Book(store)
    book.run(0, ERROR, "trainer")
    book.run(100, SUCCESS, "trainer")
    assert infos(store) == {f"last_started,,{'a' * 32}", f"last_ended,,{'a' * 32}"}


def test_killed_run_info_has_interrupted_stage(store: Store) -> None:
    book = Book(store, host="elsewhere", flow_run_id="r")
    book.say(RUN, STARTED, 0)
    book.say("trainer", STARTED, 5)
    book.say(RECOVERY, ERROR, 600)
    assert infos(store) == {f"last_started,trainer,{'a' * 32}", f"last_ended,trainer,{'a' * 32}"}


def test_flows_and_pipelines_have_separate_metrics(store: Store) -> None:
    Book(store, "a" * 32).run(0, SUCCESS, "trainer")
    # One trace for both, as with a caller's `traceparent`.
    Book(store, "a" * 32, "scoring").run(100, ERROR, "inference")
    Book(store, "b" * 32, pipeline="churn").run(200, SUCCESS, "trainer")
    found = looked(store)
    assert found["pipeline_last_run_failed{credit,training}"] == 0
    assert found["pipeline_last_run_failed{credit,scoring}"] == 1
    assert found["pipeline_last_start_timestamp_seconds{churn,training}"] == 200
    assert "training_last_run_failed{churn}" in found
    assert found["pipeline_stage_last_failed{credit,inference}"] == 1


def test_cached_stage_updates_success_and_skipped_stage_is_omitted(store: Store) -> None:
    Book(store, "a" * 32).run(0, SUCCESS, "trainer")
    later = Book(store, "b" * 32)
    later.say(RUN, STARTED, 100)
    later.say("trainer", CACHED, 101, 0.01, rows=100)
    later.say("registry", SKIPPED, 102, 0.0)
    later.say(RUN, SUCCESS, 103, 3.0)
    found = looked(store)
    assert found["pipeline_stage_last_success_timestamp_seconds{credit,trainer}"] == 101
    assert found["pipeline_stage_last_duration_seconds{credit,trainer}"] == 10, "of what was done, not of the look-up"
    assert not [name for name in found if "registry" in name]


@pytest.mark.parametrize(
    ("status", "has_failed"),
    [(ERROR, 1), (SKIPPED, 0), (RESUMED, 1)],
    ids=["found gone", "cancelled", "rescheduled"],
)
def test_recovery_status_of_orphaned_run_is_exported(store: Store, status: str, has_failed: int) -> None:
    book = Book(store, host="elsewhere", flow_run_id="r")
    book.say(RUN, STARTED, 0)
    book.say("trainer", STARTED, 5)
    assert looked(store)["pipeline_run_active{credit,training}"] == 1
    book.say(RECOVERY, status, 600)
    found = looked(store)
    assert found["pipeline_run_active{credit,training}"] == 0
    assert found["pipeline_last_run_failed{credit,training}"] == has_failed
    assert found["pipeline_last_end_timestamp_seconds{credit,training}"] == 5, "its last sign of life"
    assert found.get("pipeline_stage_last_failed{credit,trainer}", 0) == has_failed
    assert "pipeline_last_success_timestamp_seconds{credit,training}" not in found
    book.say(RUN, STARTED, 700)
    assert looked(store)["pipeline_run_active{credit,training}"] == 1
    book.say(RUN, SUCCESS, 800, 100.0)
    assert looked(store)["pipeline_last_run_failed{credit,training}"] == 0


def test_recovered_run_without_journal_is_not_exported(store: Store) -> None:
    Book(store, flow="promotion", flow_run_id="r").say(RECOVERY, ERROR, 0)
    assert looked(store) == {}


def test_remote_run_is_inactive_after_next_run_starts(store: Store) -> None:
    Book(store, "a" * 32, host="elsewhere", flow_run_id="r").say(RUN, STARTED, 0)
    assert looked(store)["pipeline_run_active{credit,training}"] == 1
    Book(store, "b" * 32).run(100, SUCCESS, "trainer")
    found = looked(store)
    assert found["pipeline_run_active{credit,training}"] == 0
    assert found["pipeline_last_run_failed{credit,training}"] == 0


def test_resumed_run_after_failure_is_detected(tmp_path: Path) -> None:
    store = Store(tmp_path)
    book, source = Book(store), JournalSource(store, Failures(SOURCES))
    book.run(0, ERROR, "trainer")
    # As old as it says: nothing is looked at again for being young.
    os.utime(store.local(f"journal/{book.trace_id}"), (1, 1))
    assert told(source.collect())["pipeline_last_run_failed{credit,training}"] == 1
    # A person retries the same run, hours later.
    book.run(9000, SUCCESS, "trainer")
    seen = [told(source.collect())["pipeline_last_run_failed{credit,training}"] for _ in range(SCAN_ROUNDS + 1)]
    assert seen[-1] == 0


@pytest.mark.parametrize(
    ("changed", "since"),
    [(1_795_000_000_000_000_000, 1_500_000_000), (1_795_000_000_004_000_000, 50_000_000)],
    ids=["whole seconds", "4 ms"],
)
def test_changes_within_mtime_resolution_are_detected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changed: int, since: int
) -> None:
    monkeypatch.setattr("time.time_ns", lambda: changed + since)
    store = Store(tmp_path)
    source = JournalSource(store, Failures(SOURCES))
    for number, status in enumerate((SUCCESS, ERROR)):
        Book(store).run(100 * number, status, "trainer")
        Book(store, f"{number}" * 32, pipeline=f"p{number}").run(100 * number, status, "trainer")
        for folder in (store.local("journal"), store.local(f"journal/{'a' * 32}")):
            os.utime(folder, ns=(changed, changed))
        found = told(source.collect())
    assert found["pipeline_last_run_failed{credit,training}"] == 1
    assert found["pipeline_last_run_failed{p1,training}"] == 1


def test_damaged_journal_is_counted_and_other_runs_exported(store: Store, failures: Failures) -> None:
    Book(store, "a" * 32).run(0, SUCCESS, *STAGES)
    whole = looked(store)
    for number, text in enumerate((b"", b'{"trace_id": 1}', b"\x00\xff", b"[]")):
        store.write(f"journal/{'b' * 32}/000{number + 1}-trainer-success.json", text)
    store.write(f"journal/{'c' * 32}/0001-run-error.json", b"{")
    store.write(f"journal/{'c' * 32}/notes.txt", b"by hand")
    store.write("journal/notes.txt", b"by hand")
    source = JournalSource(store, failures)
    assert told(source.collect()) == whole
    told_of = failed(failures)
    assert set(told_of) == {"journal"}
    assert told_of["journal"] >= 2
    Book(store, "d" * 32).run(100, SUCCESS, *STAGES)
    assert told(source.collect())["pipeline_last_end_timestamp_seconds{credit,training}"] == 130


def test_deleted_journal_keeps_known_metrics(tmp_path: Path, failures: Failures) -> None:
    store = Store(tmp_path)
    source = JournalSource(store, failures)
    Book(store).run(0, SUCCESS, "trainer")
    before = source.collect()
    store.remove(f"journal/{'a' * 32}")
    assert source.collect() == before
    assert failed(failures) == {}


class CountingStore(Store):
    """A store that says what was read."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.paths: list[str] = []

    def read(self, path: str, sha256: str | None = None) -> bytes:
        self.paths.append(path)
        return super().read(path, sha256)


@pytest.mark.integration
def test_ended_runs_are_not_read_again(tmp_path: Path) -> None:
    store = CountingStore(tmp_path)
    for number in range(200):
        book = Book(store, f"{number:032x}")
        book.run(100 * number, SUCCESS, *STAGES)
        os.utime(store.local(f"journal/{book.trace_id}"), (number, number))
    os.utime(store.local("journal"), (1, 1))
    source = JournalSource(store, Failures(SOURCES))
    source.collect()
    assert len(store.paths) == len(set(store.paths)) <= 2 * 200 + len(STAGES), "of an old run its begin and its end"
    store.paths.clear()
    for _ in range(2 * SCAN_ROUNDS):
        source.collect()
    assert store.paths == []
    Book(store, "f" * 32).run(90_000, ERROR, "data_loader")
    assert told(source.collect())["pipeline_last_run_failed{credit,training}"] == 1
    assert {path.split("/")[1] for path in store.paths} == {"f" * 32}


# What may happen to a run, one thing after the other; time goes on by itself.
_EVENTS = st.tuples(
    st.sampled_from(["a", "b"]),
    st.sampled_from(["training", "scoring"]),
    st.sampled_from([RUN, "trainer", "data_loader", RECOVERY]),
    st.sampled_from([STARTED, SUCCESS, CACHED, RESUMED, SKIPPED, ERROR]),
)


@pytest.mark.integration
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(_EVENTS, min_size=1, max_size=12))
def test_incremental_and_restarted_exporter_metrics_are_equal(
    tmp_path: Path, events: list[tuple[str, str, str, str]]
) -> None:
    store = Store(tmp_path / str(next(_rooms)))
    source = JournalSource(store, Failures(SOURCES))
    for number, (trace, flow, stage, status) in enumerate(_possible(events)):
        seconds = 1.0 if status != STARTED else None
        Book(store, trace * 32, flow, flow_run_id=f"{trace}-{flow}").say(stage, status, 10 * number, seconds, rows=1.0)
        watched = told(source.collect())
    assert watched == looked(store)


def _possible(events: list[tuple[str, str, str, str]]) -> Iterator[tuple[str, str, str, str]]:
    """Yield events as a journal may have them: a run begins, and a recovery starts nothing."""
    begun: set[tuple[str, str]] = set()
    for trace, flow, stage, status in events:
        if (trace, flow) not in begun:
            begun.add((trace, flow))
            yield trace, flow, RUN, STARTED
        if (stage, status) not in {(RECOVERY, STARTED), (RECOVERY, SUCCESS), (RECOVERY, CACHED), (RUN, SKIPPED)}:
            yield trace, flow, stage, status


def test_journal_file_names_encode_stage_and_status(tmp_path: Path) -> None:
    store = Store(tmp_path)
    Book(store).run(0, ERROR, "data_loader")
    names = journal.Journal(store).names("a" * 32)
    assert [journal.parse_name(name) for name in names] == [
        (RUN, STARTED), ("data_loader", STARTED), ("data_loader", ERROR), (RUN, ERROR),
    ]  # fmt: skip


def test_future_timestamped_run_is_superseded_by_next_run(store: Store, failures: Failures) -> None:
    book, source = Journal(store), JournalSource(store, failures)
    ahead = (datetime.now(UTC) + timedelta(days=400)).isoformat(timespec="milliseconds")
    for status in (STARTED, ERROR):
        book.write(Event("aa" * 16, "credit", "training", RUN, status, time=ahead))
    assert _last(source, "pipeline_last_run_failed") == 1.0
    for status in (STARTED, SUCCESS):
        moment = (datetime.now(UTC) + timedelta(seconds=1)).isoformat(timespec="milliseconds")
        book.write(Event("bb" * 16, "credit", "training", RUN, status, time=moment))
    assert _last(source, "pipeline_last_run_failed") == 0.0
    assert _last(source, "pipeline_last_end_timestamp_seconds") < time.time() + 60


def _last(source: JournalSource, name: str) -> float:
    (value,) = (sample.value for sample in source.collect() if sample.name == name)
    return value
