"""What a path means, and what is said when it means nothing."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import http.server
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest

from ai_workflow.errors import StageError, StoreError, TransientError
from ai_workflow.sources import input_files
from ai_workflow.storage.store import Store
from tests.sources.loading import csv, rows, write

CSV = (".csv",)
TEXT = b"a,b\n1,2\n"
NO_AIOHTTP = "aiohttp is missing. Install it: .venv/bin/pip install aiohttp"


def names(path: object, base: Path | None = None) -> list[str]:
    return [found["name"] for found in input_files.find(str(path), CSV, base)]


@pytest.fixture
def memory() -> Iterator[Any]:
    """The file system `memory://`, empty before and after."""
    fs = fsspec.filesystem("memory")
    fs.store.clear()
    yield fs
    fs.store.clear()


def test_file_is_found_with_digest_and_size(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", TEXT)
    sha256 = hashlib.sha256(TEXT).hexdigest()
    assert input_files.find(str(path), CSV) == [{"name": "a.csv", "path": str(path), "sha256": sha256, "bytes": 8}]


def test_folder_lists_data_files_sorted_by_relative_name(tmp_path: Path) -> None:
    for name in ("b.csv", "sub/a.csv.gz", "a.CSV", ".hidden.csv", "_SUCCESS", "_tmp/x.csv", "notes.txt"):
        write(tmp_path / "data" / name, TEXT)
    assert names(tmp_path / "data") == ["a.CSV", "b.csv", "sub/a.csv.gz"]
    assert names(f"{tmp_path}/data/") == ["a.CSV", "b.csv", "sub/a.csv.gz"]


def test_glob_lists_matches_relative_to_fixed_prefix(tmp_path: Path) -> None:
    for name in ("x/1.dat", "y/1.dat", "y/2.txt"):
        write(tmp_path / "data" / name, TEXT)
    assert names(tmp_path / "data/*/1.*") == ["x/1.dat", "y/1.dat"]
    assert names(tmp_path / "data/y/[12].*") == ["1.dat", "2.txt"]
    assert names(tmp_path / "data/**/*.txt") == ["y/2.txt"]


def test_file_name_with_glob_characters_is_literal(tmp_path: Path) -> None:
    write(tmp_path / "a1.csv", TEXT)
    path = write(tmp_path / "a[1].csv", TEXT)
    assert names(path) == ["a[1].csv"]


def test_relative_path_resolves_against_cwd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "here/a.csv", TEXT)
    monkeypatch.chdir(tmp_path / "here")
    assert input_files.find("a.csv", CSV)[0]["path"] == str(tmp_path / "here/a.csv")
    monkeypatch.chdir("/")
    assert names("a.csv", base=tmp_path / "here") == ["a.csv"]


def test_file_url_is_read_as_path(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", TEXT)
    assert input_files.find(f"file://{path}", CSV)[0]["path"] == str(path)


def test_missing_or_empty_input_error_names_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    write(tmp_path / "a.csv", b"")
    for path, said in (
        ("gone.csv", f"gone.csv does not exist (looked in {tmp_path})"),
        (str(tmp_path / "gone.csv"), "does not exist"),
        ("*.parquet", "no file matches *.parquet"),
        ("empty", "the folder empty holds no data files"),
        ("a.csv", "is empty"),
        ("a.csv/b.csv", "does not exist"),
    ):
        with pytest.raises(StageError) as caught:
            input_files.find(path, CSV)
        assert said in str(caught.value)
        assert not isinstance(caught.value, TransientError)


def test_named_pipe_is_rejected_without_blocking(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.csv")
    with pytest.raises(StageError, match="neither a file nor a folder"):
        input_files.find(str(tmp_path / "pipe.csv"), CSV)


def test_unreadable_file_error_names_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "data/a.csv", TEXT)
    path.chmod(0)
    if os.geteuid() == 0:
        # Root may read everything; the file system says no in its place.
        def refuse(*_: Any, **__: Any) -> None:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(StageError, match=r"a\.csv cannot be read: .*Permission denied"):
        input_files.find(str(path), CSV)


def test_url_is_read_like_path(memory: Any, store: Store) -> None:
    memory.pipe({"/data/a.csv": TEXT, "/data/sub/b.csv": b"a,b\n3,4\n"})
    assert rows(store, csv("memory://data")) == [(2, "1", "2"), (2, "3", "4")]
    assert rows(store, csv("memory://data/*.csv")) == [(2, "1", "2")]
    assert rows(store, csv("memory://data/sub/b.csv")) == [(2, "3", "4")]
    assert names("memory://data") == ["a.csv", "sub/b.csv"]
    with pytest.raises(StageError, match=r"memory://data/gone\.csv does not exist"):
        names("memory://data/gone.csv")


def test_missing_protocol_package_error_has_install_command(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: Any, **__: Any) -> None:
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr(fsspec.core, "url_to_fs", missing)
    with pytest.raises(StageError, match=r"\.venv/bin/pip install -e '\.\[s3\]'"):
        input_files.find("s3://bucket/a.csv", CSV)
    with pytest.raises(StageError, match="Install s3fs"):
        input_files.find("other://bucket/a.csv", CSV)


def test_unknown_protocol_is_rejected() -> None:
    with pytest.raises(StageError, match="nosuch"):
        input_files.find("nosuch://bucket/a.csv", CSV)


def test_url_credentials_are_masked() -> None:
    assert input_files.shown("ftp://me:hunter2@host/a.csv") == "ftp://***@host/a.csv"


def test_storage_failure_is_transient_error(memory: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    memory.pipe("/a.csv", TEXT)

    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("slow down")

    monkeypatch.setattr(type(memory), "open", fail)
    with pytest.raises(TransientError, match="slow down"):
        input_files.find("memory://a.csv", CSV)


@pytest.fixture
def web(tmp_path: Path) -> Iterator[str]:
    """The address of a plain web server that serves `tmp_path`."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

    handler = functools.partial(Handler, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@contextlib.contextmanager
def answering(code: int) -> Iterator[str]:
    """Serve one status on loopback."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(code)
            self.send_header("content-length", "0")
            self.end_headers()

        def do_HEAD(self) -> None:
            self.do_GET()

        def log_message(self, *_: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture
def unused_port() -> Iterator[int]:
    """A port on loopback that refuses connections: it is bound, and nothing listens."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        yield int(unused.getsockname()[1])


@pytest.mark.integration
def test_http_file_is_read(web: str, store: Store, tmp_path: Path) -> None:
    pytest.importorskip("aiohttp", reason=NO_AIOHTTP)
    write(tmp_path / "a.csv", "a,b\n" + "1,2\n" * 100_000)
    assert len(rows(store, csv(f"{web}/a.csv"))) == 100_000
    with pytest.raises(StageError, match=r"gone\.csv does not exist"):
        input_files.find(f"{web}/gone.csv", CSV)


@pytest.mark.integration
def test_unreachable_web_server_is_transient_error_with_reason(unused_port: int) -> None:
    pytest.importorskip("aiohttp", reason=NO_AIOHTTP)
    for address, said in (
        (f"http://127.0.0.1:{unused_port}/a.csv", "cannot be reached: connection refused"),
        (f"https://127.0.0.1:{unused_port}/sub/a.csv", "cannot be reached: connection refused"),
        ("https://no-such-host.invalid/a.csv", "cannot be reached: the name of the host cannot be resolved"),
    ):
        with pytest.raises(TransientError) as caught:
            input_files.find(address, CSV)
        assert str(caught.value) == f"{address} {said}. Check the address, and that this machine may connect to it"


@pytest.mark.integration
@pytest.mark.parametrize(
    ("code", "passes", "said"),
    [
        (401, False, "cannot be read: HTTP 401 Unauthorized. Give the URL credentials"),
        (403, False, "cannot be read: HTTP 403 Forbidden. Give the URL credentials"),
        (404, False, "does not exist"),
        (410, False, "does not exist"),
        (429, True, "cannot be read: HTTP 429 Too Many Requests. Run again"),
        (503, True, "cannot be read: HTTP 503 Service Unavailable. Run again"),
    ],
)
def test_http_error_status_is_reported(code: int, passes: bool, said: str) -> None:
    pytest.importorskip("aiohttp", reason=NO_AIOHTTP)
    with answering(code) as address, pytest.raises(StageError) as caught:
        input_files.find(f"{address}/a.csv", CSV)
    assert said in str(caught.value)
    assert isinstance(caught.value, TransientError) == passes


@pytest.mark.integration
def test_tls_failure_is_transient_error(web: str) -> None:
    pytest.importorskip("aiohttp", reason=NO_AIOHTTP)
    with pytest.raises(TransientError, match="cannot be reached: TLS failed"):
        input_files.find(f"{web.replace('http:', 'https:')}/a.csv", CSV)


@pytest.mark.integration
def test_missing_s3_credentials_error_names_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("s3fs", reason="s3fs is missing. Install it: .venv/bin/pip install -e '.[s3]'")
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, "/dev/null")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(StageError, match=r"Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"):
        input_files.find("s3://bucket-of-a-test/a.csv", CSV)
    with pytest.raises(StoreError, match=r"Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"):
        Store("s3://bucket-of-a-test/prefix").read("a")
