"""Files in a zip archive are read like files of their own; an archive that cannot be read is one clear error."""

from __future__ import annotations

import gzip
import http.server
import io
import threading
import zipfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from ai_workflow.stages import data_loader
from ai_workflow.storage.store import Store
from tests.sources.loading import csv, load, parquet, refused, rows, write

A, B = b"a,b\n1,2\n", b"a,b\n3,4\n"


def archive(compression: int = zipfile.ZIP_DEFLATED, **members: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as packed:
        for name, content in members.items():
            packed.writestr(name.replace("__", "/").replace("_", "."), content)
    return file.getvalue()


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
@pytest.mark.parametrize("name", ["a_csv", "export", "folder__a_txt"])
def test_only_file_of_an_archive_is_read(store: Store, tmp_path: Path, compression: int, name: str) -> None:
    path = write(tmp_path / "a.zip", archive(compression, **{name: A}))
    assert rows(store, csv(path)) == [(2, "1", "2")]


def test_files_of_an_archive_are_read_like_those_of_a_folder(store: Store, tmp_path: Path) -> None:
    packed = archive(b_csv=B, a_csv=A, README_md=b"# hello", MACOSX__x_md=b"", c_csv_gz=gzip.compress(A))
    source = csv(write(tmp_path / "a.zip", packed))
    assert [each["name"] for each in data_loader.inspect(source)] == ["a.zip/a.csv", "a.zip/b.csv", "a.zip/c.csv.gz"]
    assert rows(store, source) == [(2, "1", "2"), (2, "3", "4"), (2, "1", "2")]
    assert [part.source for part in load(store, source).partitions] == ["a.zip/a.csv", "a.zip/b.csv", "a.zip/c.csv.gz"]


def test_archives_in_a_folder_are_read_beside_other_files(store: Store, tmp_path: Path) -> None:
    write(tmp_path / "in/1.csv.zip", archive(x_csv=A, y=b"no data"))
    write(tmp_path / "in/2.csv", B)
    write(tmp_path / "in/country=de/3.zip", archive(z_csv=A))
    assert sorted(rows(store, csv(tmp_path / "in")), key=str) == [
        (2, "1", "2", "de"), (2, "1", "2", None), (2, "3", "4", None)
    ]  # fmt: skip


def test_unchanged_file_of_a_changed_archive_is_not_read_again(store: Store, tmp_path: Path) -> None:
    path = write(tmp_path / "a.zip", archive(a_csv=A, b_csv=B))
    before = {part.path for part in load(store, csv(path)).partitions}
    write(path, archive(a_csv=A, b_csv=B, c_csv=b"a,b\n5,6\n"))
    assert before < {part.path for part in load(store, csv(path)).partitions}


def test_error_names_archive_file_and_row(store: Store, tmp_path: Path) -> None:
    path = write(tmp_path / "a.zip", archive(a_csv=A, b_csv=b"a,b\n1,2\n3\n"))
    assert "a.zip/b.csv, row 3: 2 columns expected, 1 found" in refused(store, csv(path))


def test_large_member_is_streamed(store: Store, tmp_path: Path) -> None:
    path = write(tmp_path / "a.zip", archive(a_csv=b"a,b\n" + b"1,2\n" * 500_000))
    assert load(store, csv(path)).rows == 500_000


@pytest.mark.integration
def test_bomb_of_one_line_is_rejected(store: Store, tmp_path: Path) -> None:
    path = write(tmp_path / "a.zip", archive(a_csv=b"a,b\n1," + b"2" * (32 << 20)))
    assert "is longer than 8 MiB" in refused(store, csv(path))


def encrypted() -> bytes:
    data = bytearray(archive(a_csv=A))
    for signature, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(signature) + at] |= 1
    return bytes(data)


def damaged() -> bytes:
    data = bytearray(archive(zipfile.ZIP_STORED, a_csv=A))
    data[data.index(b"1,2")] = ord("9")
    return bytes(data)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (archive(a_csv=A)[:-30], ["bad.zip is a damaged or cut off zip archive"]),
        (damaged(), ["bad.zip is a damaged or cut off zip archive", "CRC"]),
        (archive(), ["holds no data files, but no file"]),
        (archive(a_md=b"x", b_md=b"y"), ["holds no data files, but a.md, b.md", ".csv"]),
        (archive(a_csv=b""), ["bad.zip/a.csv is empty"]),
        (archive(a_csv=A, b_csv=b""), ["bad.zip/b.csv is empty"]),
        (archive(a_zip=archive(a_csv=A)), ["bad.zip/a.zip is an archive", "Unpack it"]),
        (encrypted(), ["bad.zip/a.csv is encrypted", "without a password"]),
        (archive(a_csv=A, b_csv=b"x,y\n1,2\n"), ["no column in common"]),
        (archive(a_csv=b"PAR1"), ["Parquet"]),
    ],
    # The bytes of an archive have the time of its creation.
    ids=lambda value: "archive" if isinstance(value, bytes) else "error",
)
def test_unreadable_archive_raises_single_clear_error(
    store: Store, tmp_path: Path, content: bytes, said: list[str]
) -> None:
    text = refused(store, csv(write(tmp_path / "bad.zip", content)))
    for part in said:
        assert part in text


def test_archive_that_changed_is_rejected(store: Store, tmp_path: Path) -> None:
    path = write(tmp_path / "a.zip", archive(a_csv=A, b_csv=B))
    for content in (archive(a_csv=A, b_csv=A), archive(a_csv=A)):
        inputs = data_loader.inspect(csv(path))
        write(path, content)
        with pytest.raises(Exception, match="changed while it was read"):
            data_loader.load(store, csv(path), inputs)
        write(path, archive(a_csv=A, b_csv=B))


def test_archive_is_not_parquet(store: Store, tmp_path: Path) -> None:
    assert "not a Parquet file" in refused(store, parquet(write(tmp_path / "a.parquet", archive(a_csv=A))))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None: ...

    made = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path)))
    threading.Thread(target=made.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{made.server_port}"
    made.shutdown()
    made.server_close()


@pytest.mark.integration
def test_archive_of_a_web_server_without_range_requests_is_read(store: Store, tmp_path: Path, server: str) -> None:
    write(tmp_path / "a.zip", archive(a_csv=A, b_csv=B))
    assert rows(store, csv(f"{server}/a.zip")) == [(2, "1", "2"), (2, "3", "4")]
