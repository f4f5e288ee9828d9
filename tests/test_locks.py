"""File locks: one holder at a time, released when the holder closes the file or dies, never on a removed file."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from ai_workflow.errors import StoreError
from ai_workflow.storage import locks


def test_try_acquire_returns_none_while_another_descriptor_holds_the_lock(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "lock"
    handle = locks.try_acquire(path)
    assert handle is not None
    assert locks.is_locked(path)
    assert locks.try_acquire(path) is None

    os.close(handle)

    assert not locks.is_locked(path)
    again = locks.try_acquire(path)
    assert again is not None
    os.close(again)


def test_try_acquire_retries_when_lock_file_is_removed_concurrently(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, original, opened = tmp_path / "lock", os.open, list[int]()

    def open_and_remove(*args: int) -> int:
        handle = original(*args)
        if not opened:
            path.unlink()
        opened.append(handle)
        return handle

    monkeypatch.setattr(locks.os, "open", open_and_remove)
    handle = locks.try_acquire(path)
    monkeypatch.undo()

    assert handle is not None
    assert os.fstat(handle).st_ino == path.stat().st_ino
    assert len(opened) == 2
    os.close(handle)


def test_exclusive_waits_for_other_holder(tmp_path: Path) -> None:
    path, order, started = tmp_path / "lock", list[str](), threading.Event()

    def wait_for_lock() -> None:
        started.set()
        with locks.exclusive(path):
            order.append("second")

    with locks.exclusive(path):
        other = threading.Thread(target=wait_for_lock)
        other.start()
        started.wait(10)
        other.join(0.1)
        order.append("first")
    other.join(10)

    assert order == ["first", "second"]


def test_abandoned_opens_file_only_after_writer_closes(tmp_path: Path) -> None:
    path = tmp_path / "segment"
    handle = locks.create(path)
    os.write(handle, b"line\n")
    with locks.abandoned(path) as file:
        assert file is None

    os.close(handle)

    with locks.abandoned(path) as file:
        assert file is not None
        assert file.read() == b"line\n"
        with locks.abandoned(path) as second:
            assert second is None


def test_abandoned_yields_none_for_missing_file(tmp_path: Path) -> None:
    with locks.abandoned(tmp_path / "segment") as file:
        assert file is None


def test_uncreatable_folder_raises_store_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be written"), locks.exclusive_folder(tmp_path / "file" / "folder"):
        pytest.fail("the folder cannot be locked")


def test_error_inside_exclusive_folder_is_not_wrapped(tmp_path: Path) -> None:
    with pytest.raises(PermissionError), locks.exclusive_folder(tmp_path):
        raise PermissionError
