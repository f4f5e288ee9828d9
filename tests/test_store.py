"""What the store promises: a file is whole or not there, what was there stays, and what is damaged is refused."""

from __future__ import annotations

import contextlib
import hashlib
import json
import signal
import subprocess
import tempfile
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from ai_workflow.errors import StoreError
from ai_workflow.storage.file_ref import FileRef
from ai_workflow.storage.store import Store
from tests import processes

# Opens a store, starts to write a file, says so, and waits to be killed.
KILLED_WRITER = """
    import sys, time
    from ai_workflow.storage.store import Store
    with Store(sys.argv[1]).writing("a/file") as pending:
        pending.local.write_bytes(b"half")
        print("writing", flush=True)
        time.sleep(60)
"""
FULL_DISK = """
    import resource, signal, sys
    from ai_workflow.errors import StoreError
    from ai_workflow.storage.store import Store
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
    try:
        Store(sys.argv[1]).write("file", b"x" * 5000)
    except StoreError as error:
        print(error)
"""
READ_ONLY = """
    import os, sys
    from ai_workflow.errors import StoreError
    from ai_workflow.storage.store import Store
    os.getuid() or os.setuid(65534)  # file permissions do not bind root
    for path in ("file", "new/file"):
        try:
            Store(sys.argv[1]).write(path, b"new")
        except StoreError as error:
            print(error)
"""
WRITE_OFTEN = """
    import sys
    from ai_workflow.storage.store import Store
    for _ in range(60):
        Store(sys.argv[1]).write("file", sys.argv[2].encode() * 50_000)
"""


@pytest.fixture(params=["folder", "file://", "memory://"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """An empty store of each kind."""
    if request.param == "memory://":
        return Store(f"memory://{uuid.uuid4().hex}")
    return Store(tmp_path if request.param == "folder" else f"file://{tmp_path}")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 kB, where one can be mounted."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(place)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small disk needs root")
    yield place
    subprocess.run(["umount", place], check=True)


def test_written_file_is_read_back(store: Store) -> None:
    ref = store.write("a/b/file", b"content")
    assert ref == FileRef("a/b/file", hashlib.sha256(b"content").hexdigest(), 7)
    assert store.read("a/b/file", ref.sha256) == b"content"
    assert ref.to_json() == {"path": "a/b/file", "sha256": ref.sha256, "bytes": 7}


def test_second_write_replaces_first(store: Store) -> None:
    store.write("file", b"a longer first content")
    store.write("file", b"second")
    assert store.read("file") == b"second"
    assert store.names("") == ["file"]


def test_write_new_keeps_existing_file(store: Store) -> None:
    assert store.write_new("a/file", b"first")
    assert not store.write_new("a/file", b"second")
    assert store.read("a/file") == b"first"
    assert store.names("a") == ["file"]


def test_missing_file_error_names_path(store: Store) -> None:
    with pytest.raises(StoreError, match=r"nowhere/file cannot be read"):
        store.read("nowhere/file")
    assert not store.exists("nowhere/file")
    assert store.names("nowhere") == []
    assert not store.matches("nowhere/file", "0" * 64)


def test_remove_deletes_file_or_folder_and_ignores_missing_path(store: Store) -> None:
    for path in ("a/one", "a/b/two", "three"):
        store.write(path, b"x")
    for path in ("a", "three", "never/there"):
        store.remove(path)
    assert not any(store.exists(path) for path in ("a/one", "a/b/two", "three"))


def test_names_are_sorted(store: Store) -> None:
    for name in ("b", "a", "c"):
        store.write(f"folder/{name}", b"x")
    assert store.names("folder") == ["a", "b", "c"]


@pytest.mark.parametrize("path", ["/etc/passwd", "../file", "a/../../file", "a/.."])
def test_path_outside_root_is_rejected(store: Store, path: str) -> None:
    for act in (store.read, store.exists, store.names, store.remove, lambda path: store.write(path, b"x")):
        with pytest.raises(ValueError, match="not a path below"):
            act(path)


def test_failed_write_keeps_old_content_without_leftovers(store: Store) -> None:
    store.write("file", b"old")
    with contextlib.suppress(KeyError), store.writing("file") as pending:
        pending.local.write_bytes(b"half of the new")
        raise KeyError
    assert store.read("file") == b"old"
    assert store.names("") == ["file"]
    assert not pending.local.exists()


def test_reader_sees_old_content_until_write_completes(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.write("file", b"old")
    with store.writing("file") as pending:
        pending.local.write_bytes(b"new")
        assert store.read("file") == b"old"
        assert store.names("") == ["file"]
    assert store.read("file") == b"new"


@pytest.mark.integration
def test_reader_never_sees_partial_write(tmp_path: Path) -> None:
    store, seen = Store(tmp_path), set()
    store.write("file", b"a" * 100_000)
    writers = [
        threading.Thread(target=lambda byte=byte: [store.write("file", byte * 100_000) for _ in range(30)])
        for byte in (b"a", b"b")
    ]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        data = store.read("file")
        assert len(data) == 100_000
        seen.add(frozenset(data))
    assert seen <= {frozenset(b"a"), frozenset(b"b")}


@pytest.mark.integration
def test_concurrent_writers_leave_complete_content(tmp_path: Path) -> None:
    writers = [processes.start(WRITE_OFTEN, tmp_path, letter) for letter in "ab"]
    assert [writer.communicate(timeout=240)[0] for writer in writers] == ["", ""]
    assert Store(tmp_path).read("file") in (b"a" * 50_000, b"b" * 50_000)
    assert _left(tmp_path) == ["file"]


@pytest.mark.integration
def test_killed_writer_keeps_old_content(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.write("a/file", b"old")
    writer = processes.start(KILLED_WRITER, tmp_path)
    assert writer.stdout
    assert writer.stdout.readline() == "writing\n"
    writer.send_signal(signal.SIGKILL)
    writer.communicate()
    assert store.read("a/file") == b"old"
    assert len(_left(tmp_path / "a")) == 2
    assert store.names("a") == ["file"]


@pytest.mark.integration
def test_file_size_limit_error_keeps_old_content(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.write("file", b"old")
    said = processes.python(FULL_DISK, tmp_path)
    assert said.startswith(f"{tmp_path}/file cannot be written: File too large")
    assert store.read("file") == b"old"
    assert _left(tmp_path) == ["file"]


@pytest.mark.integration
def test_full_disk_error_has_remedy_and_keeps_old_content(small_disk: Path) -> None:
    store = Store(small_disk)
    store.write("file", b"old")
    with pytest.raises(StoreError, match=r"file cannot be written: No space left on device. The disk is full: free"):
        store.write("file", b"x" * 200_000)
    assert store.read("file") == b"old"
    assert _left(small_disk) == ["file"]


@pytest.mark.integration
def test_read_only_folder_error_has_remedy() -> None:
    remedy = "Permission denied. Give this user the right to write there, or set store.root to another place"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "file").write_bytes(b"old")
        folder.chmod(0o555)
        said = processes.python(READ_ONLY, folder).splitlines()
        assert said == [f"{folder}/{path} cannot be written: {remedy}" for path in ("file", "new/file")]
        assert (folder / "file").read_bytes() == b"old"
        folder.chmod(0o755)


@pytest.mark.parametrize("damage", [b"", b"conten", b"cOntent", b"content\n"])
def test_file_with_wrong_checksum_is_rejected(store: Store, damage: bytes) -> None:
    ref = store.write("file", b"content")
    assert store.matches("file", ref.sha256)
    store.write("file", damage)
    assert not store.matches("file", ref.sha256)
    with pytest.raises(StoreError, match="file is damaged"):
        store.read("file", ref.sha256)


@pytest.mark.parametrize("body", [{}, [], None, "ü\n\"'", 0.1, {"b": [1, 2.5, None], "a": {"ä": True}}])
def test_record_is_read_back(store: Store, body: object) -> None:
    store.write_record("record.json", body)
    assert store.read_record("record.json") == body


def test_equal_records_have_equal_bytes(store: Store) -> None:
    first = store.write_record("one", {"a": 1, "b": 2})
    second = store.write_record("two", {"b": 2, "a": 1})
    assert first.sha256 == second.sha256


@pytest.mark.integration
def test_damaged_record_is_rejected(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.write_record("record", {"rows": 12, "name": "ä"})
    good = (tmp_path / "record").read_bytes()
    damages = [good[:cut] for cut in range(len(good) - 2)]
    damages += [good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :] for at in range(len(good))]
    for damage in damages:
        (tmp_path / "record").write_bytes(damage)
        # White space may change; no other damage gives a body, least of all another one.
        with contextlib.suppress(StoreError):
            assert store.read_record("record") == {"rows": 12, "name": "ä"}
            assert json.loads(damage) == json.loads(good)


@pytest.mark.parametrize("text", ["null", "[]", '"text"', '{"body": 1}', json.dumps({"body": 1, "sha256": "0" * 64})])
def test_record_without_valid_checksum_is_rejected(store: Store, text: str) -> None:
    store.write("record", text.encode())
    with pytest.raises(StoreError, match="record is damaged"):
        store.read_record("record")


def test_only_folder_store_has_local_paths(tmp_path: Path) -> None:
    assert Store(f"file://{tmp_path}/").local("a/b") == tmp_path / "a/b"
    with pytest.raises(StoreError, match="not on a local disk"):
        Store("memory://x").local("a")


def test_written_files_are_world_readable(tmp_path: Path) -> None:
    Store(tmp_path).write("file", b"x")
    Store(tmp_path).write_new("new", b"x")
    assert [(tmp_path / name).stat().st_mode & 0o777 for name in ("file", "new")] == [0o644, 0o644]


def _left(folder: Path) -> list[str]:
    """Return all that is in a folder, hidden files too."""
    return sorted(path.name for path in folder.iterdir())


def test_unwritable_store_error_has_reason_and_remedy(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to(tmp_path / "gone")
    for root, reason, remedy in (
        (tmp_path / "file", f"Not a directory: '{tmp_path}/file' is a file", "Set store.root to a folder"),
        (tmp_path / "file/sub/store", f"Not a directory: '{tmp_path}/file' is a file", "Set store.root to a folder"),
        (tmp_path / "link", f"'{tmp_path}/link' is a link to '{tmp_path}/gone', which does not exist", "Create that"),
        (tmp_path / "link/store", f"'{tmp_path}/link' is a link to '{tmp_path}/gone', which does not", "Create that"),
        (tmp_path / ("x" * 300), "File name too long", "Set store.root to a shorter path"),
    ):
        with pytest.raises(StoreError) as caught:
            Store(root).require_writable()
        assert str(caught.value).startswith(f"store.root '{root}' cannot be written: {reason}")
        assert remedy in str(caught.value)
    Store(tmp_path / "new/store").require_writable()
    assert [*(tmp_path / "new/store").iterdir()] == []


@pytest.mark.integration
def test_full_disk_is_reported_before_run(small_disk: Path) -> None:
    store = Store(small_disk)
    with pytest.raises(StoreError):
        store.write("fill", b"x" * 200_000)
    for size in (32_768, 4096, 1):
        with contextlib.suppress(StoreError):
            for number in range(100):
                store.write_new(f"{size}-{number}", b"x" * size)
    with pytest.raises(StoreError, match=r"store\.root .* No space left on device\. The disk is full"):
        store.require_writable()
