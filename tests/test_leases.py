"""What a lease promises: who uses a version is known as long as he lives, and no longer, whatever clocks say."""

from __future__ import annotations

import itertools
import json
import os
import signal
import time
import uuid
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ai_workflow.errors import StoreError
from ai_workflow.registry import leases
from ai_workflow.registry.leases import Leases
from ai_workflow.storage.store import Store
from tests import processes

FOLDER = "models/development/credit"
HOLD = """
    import sys, time
    from ai_workflow.registry.leases import Leases
    from ai_workflow.storage.store import Store
    with Leases(Store(sys.argv[1]), "models/development/credit").held("model_v1.0", "service"):
        print("held", flush=True)
        time.sleep(600)
"""


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "HEARTBEAT_SECONDS", 0.1)
    monkeypatch.setattr(leases, "SILENCE_SECONDS", 0.6)


@pytest.fixture(params=["folder", "objects://"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return Store(tmp_path if request.param == "folder" else f"objects://{uuid.uuid4().hex}")


def _of_elsewhere(store: Store, **changes: Any) -> str:
    """Write the lease of a holder on another machine, and return its path."""
    path = f"{FOLDER}/leases/model_v1.0.0123abcd.json"
    lease = {"version": "model_v1.0", "purpose": "service", "pid": 1, "host": "elsewhere", "boot": "another"}
    store.write(path, json.dumps(lease | {"beat": time.time(), "beats": 0} | changes).encode())
    return path


def test_lease_is_visible_only_while_held(store: Store) -> None:
    found = Leases(store, FOLDER)
    with found.held("model_v1.0", "service"), found.held("model_v1.0", "scoring"), found.held("model_v1.1", "service"):
        held = found.holders()
        assert sorted(lease.purpose for lease in held["model_v1.0"]) == ["scoring", "service"]
        assert str(held["model_v1.1"][0]).startswith(f"service, process {os.getpid()} of ")
    assert found.holders() == {}
    assert store.names(f"{FOLDER}/leases") == []


@pytest.mark.integration
def test_heartbeat_keeps_lease(store: Store) -> None:
    found = Leases(store, FOLDER)
    with found.held("model_v1.0", "service"):
        time.sleep(1)
        assert list(found.holders(verify_heartbeats=True)) == ["model_v1.0"]


@pytest.mark.integration
def test_lease_of_killed_holder_is_removed_immediately(tmp_path: Path) -> None:
    holder = processes.start(HOLD, tmp_path)
    assert holder.stdout
    assert holder.stdout.readline() == "held\n"
    found = Leases(Store(tmp_path), FOLDER)
    assert list(found.holders()) == ["model_v1.0"]
    holder.send_signal(signal.SIGKILL)
    holder.communicate()
    assert found.holders() == {}
    assert Store(tmp_path).names(f"{FOLDER}/leases") == []


@pytest.mark.integration
def test_suspended_holder_keeps_lease(tmp_path: Path) -> None:
    holder = processes.start(HOLD, tmp_path)
    assert holder.stdout
    holder.stdout.readline()
    holder.send_signal(signal.SIGSTOP)
    [lease] = Store(tmp_path).names(f"{FOLDER}/leases")
    os.utime(tmp_path / FOLDER / "leases" / lease, (0, 0))
    try:
        assert list(Leases(Store(tmp_path), FOLDER).holders(verify_heartbeats=True)) == ["model_v1.0"]
    finally:
        holder.kill()
        holder.communicate()


@pytest.mark.parametrize("clock", [-86_400, 86_400], ids=["set back", "set forward"])
def test_remote_heartbeat_keeps_lease_despite_clock_skew(
    store: Store, clock: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    beats = itertools.count()
    watched: list[float] = []

    def beat() -> None:
        path = _of_elsewhere(store, beat=time.time() + clock, beats=next(beats))
        if store.is_local:
            os.utime(store.local(path), (time.time() + clock,) * 2)

    def watch(seconds: float) -> None:
        watched.append(seconds)
        beat()

    beat()
    # The holder beats while it is watched: a busy machine cannot delay that past the end of the watch.
    monkeypatch.setattr(leases, "time", SimpleNamespace(time=time.time, sleep=watch))
    assert list(Leases(store, FOLDER).holders(verify_heartbeats=True)) == ["model_v1.0"]
    assert watched == [pytest.approx(0.2)]


@pytest.mark.integration
@pytest.mark.parametrize("clock", [-86_400, 86_400, 0], ids=["set back", "set forward", "right"])
def test_lease_of_crashed_remote_holder_expires(store: Store, clock: int) -> None:
    path = _of_elsewhere(store, beat=time.time() + clock)
    if store.is_local:
        os.utime(store.local(path), (time.time() + clock,) * 2)
    found = Leases(store, FOLDER)
    assert list(found.holders()) == ["model_v1.0"], "who only looks must not take it away"
    time.sleep(0.7)
    assert found.holders(verify_heartbeats=True) == {}
    assert store.names(f"{FOLDER}/leases") == []


@pytest.mark.integration
def test_damaged_lease_counts_until_confirmed_stale(store: Store) -> None:
    store.write(f"{FOLDER}/leases/model_v1.0.0123abcd.json", b"{")
    found = Leases(store, FOLDER)
    assert list(found.holders()) == ["model_v1.0"]
    assert found.holders(verify_heartbeats=True) == {}


@pytest.mark.integration
def test_unreadable_lease_is_kept(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    _of_elsewhere(store, beat=0.0)
    found = Leases(store, FOLDER)

    def refuse(path: str, sha256: str | None = None) -> bytes:
        raise StoreError(f"{path} cannot be read: the object store does not answer")

    monkeypatch.setattr(store, "read", refuse)
    assert list(found.holders(verify_heartbeats=True)) == ["model_v1.0"]
    assert store.names(f"{FOLDER}/leases")


def test_unrelated_files_are_not_leases(store: Store) -> None:
    store.write(f"{FOLDER}/leases/notes.txt", b"mine")
    assert Leases(store, FOLDER).holders(verify_heartbeats=True) == {}
    assert store.names(f"{FOLDER}/leases") == ["notes.txt"]
