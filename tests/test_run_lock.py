"""A lock tells whether a run's process lives, whatever way it ended."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import threading
from pathlib import Path

import pytest

from ai_workflow.errors import StoreError
from ai_workflow.storage import run_lock
from ai_workflow.storage.run_lock import Holder, RunLockedError
from ai_workflow.storage.store import Store
from tests import processes

pytestmark = pytest.mark.integration

HOLD = """
import sys, time
from ai_workflow.storage import run_lock
from ai_workflow.storage.store import Store
store = Store(sys.argv[1])
run_lock.acquire(store, "run", run_lock.Holder("trace", sys.argv[2]))
if sys.argv[3] == "done":
    run_lock.remove_at_exit(store, "run")
else:
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "var")


def _held(store: Store, attempt: str = "first") -> subprocess.Popen[str]:
    process = processes.start(HOLD, store.root, attempt, "stay")
    assert process.stdout
    assert process.stdout.readline() == "held\n"
    return process


def _kill(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()


def test_released_lock_is_available_to_other_process(store: Store) -> None:
    run_lock.acquire(store, "run", Holder("trace", "first"))
    assert run_lock.status(store, "run").is_held
    run_lock.release(store, "run")
    run_lock.release(store, "run")

    process = _held(store, "second")
    lock = run_lock.status(store, "run")
    _kill(process)
    assert lock.is_held
    assert lock.holder
    assert (lock.holder.attempt, lock.holder.pid) == ("second", process.pid)


def test_lock_is_released_when_holder_is_killed(store: Store) -> None:
    process = _held(store)
    alive = run_lock.status(store, "run")
    process.send_signal(signal.SIGSTOP)
    stopped = run_lock.status(store, "run")
    _kill(process)
    dead = run_lock.status(store, "run")

    assert alive.is_held
    assert stopped.is_held
    assert not dead.is_held
    assert dead.holder == Holder("trace", "first", pid=process.pid)
    assert dead.holder.is_same_boot


def test_second_process_error_names_lock_holder(store: Store) -> None:
    process = _held(store)
    with pytest.raises(
        RunLockedError, match=f"process {process.pid} on {os.uname().nodename} already executes this run"
    ):
        run_lock.acquire(store, "run", Holder("trace", "second"))
    _kill(process)


def test_next_attempt_takes_over_lock(store: Store) -> None:
    _kill(_held(store, "a first attempt with a longer name"))
    process = _held(store, "second")
    found = run_lock.status(store, "run")
    _kill(process)

    assert found.holder
    assert (found.is_held, found.holder.attempt, found.holder.pid) == (True, "second", process.pid)


def test_finished_run_leaves_no_lock_file(store: Store) -> None:
    processes.python(HOLD, store.root, "first", "done")

    assert store.names(run_lock.FOLDER) == []
    assert run_lock.status(store, "run") == run_lock.LockStatus(is_held=False)


def test_inspecting_lock_does_not_block_acquisition(store: Store) -> None:
    _kill(_held(store))
    looks = os.open(store.local("runs/run.lock"), os.O_RDONLY)
    fcntl.flock(looks, fcntl.LOCK_SH)
    threading.Timer(0.2, os.close, (looks,)).start()
    run_lock.acquire(store, "run", Holder("trace", "second"))

    assert run_lock.status(store, "run") == run_lock.LockStatus(is_held=True, holder=Holder("trace", "second"))


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": 1, "unknown": 2}', "\xff"])
def test_damaged_lock_record_is_ignored(store: Store, text: str) -> None:
    _kill(_held(store))
    store.local("runs/run.lock").write_text(text)

    assert run_lock.status(store, "run") == run_lock.LockStatus(is_held=False)


def test_holder_of_other_host_or_boot_is_not_local() -> None:
    assert not Holder(host="elsewhere").is_same_boot
    assert not Holder(boot="an earlier one").is_same_boot


def test_exclusive_section_admits_single_holder(store: Store) -> None:
    with run_lock.exclusive(store, "recovery") as first, run_lock.exclusive(store, "recovery") as second:
        assert (first, second) == (True, False)
    with run_lock.exclusive(store, "recovery") as again:
        assert again


def test_maintenance_holder_does_not_count_as_active_run(store: Store) -> None:
    with run_lock.exclusive(store, "recovery"):
        assert not run_lock.is_any_run_active(store)
    run_lock.acquire(store, "retention", Holder(is_maintenance=True))
    assert not run_lock.is_any_run_active(store)
    at_work = _held(store)
    assert run_lock.is_any_run_active(store)
    _kill(at_work)


def test_unwritable_lock_path_error_names_store_root(store: Store) -> None:
    Path(store.root).write_text("a file where the folder should be")
    with pytest.raises(StoreError, match=r"runs/run\.lock cannot be written: Not a directory: .* Set store\.root to a"):
        run_lock.acquire(store, "run", Holder())
