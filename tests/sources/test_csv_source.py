"""What a CSV source promises: every value as it stands, exact row numbers, and one clear error for every bad file."""

from __future__ import annotations

import bz2
import csv as csv_module
import gzip
import hashlib
import io
import lzma
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from ai_workflow.errors import StageError
from ai_workflow.sources import csv_source, file_formats, text_stream
from ai_workflow.sources.input_files import InputFile
from ai_workflow.storage.store import Store
from tests.patience import PATIENCE
from tests.sources.loading import csv, load, refused, rows, write

FUZZ = settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def test_csv_values_stay_text(store: Store, tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "id,price,day\n007,1.50,2024-01-01\n8,x,1/2/3\n")
    dataset = load(store, csv(path))
    assert dataset.info == {"columns": [{"name": name, "type": "string"} for name in ("id", "price", "day")]}
    assert rows(store, csv(path)) == [(2, "007", "1.50", "2024-01-01"), (3, "8", "x", "1/2/3")]


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("a,b\n1,2\n3,4\n", [2, 3]),
        ("a,b\n1,2\n3,4", [2, 3]),
        ("a,b\r\n1,2\r\n3,4\r\n", [2, 3]),
        ("a,b\r1,2\r3,4\r", [2, 3]),
        ("\ufeffa,b\n1,2\n3,4\n", [2, 3]),
        ("\n\na,b\n1,2\n\n\n3,4\n\n", [4, 7]),
        ("\r\n\r\na,b\r\n1,2\r\n\r\n\r\n3,4\r\n\r\n", [4, 7]),
        ("\ra,b\r\r1,2\r3,4\r\r", [4, 5]),
        ("a,b\n  \n1,2\n\t\n3,4\n", [3, 5]),
        ('"a\n\nx",b\n1,"2\n\n2"\n3,4\n', [2, 3]),
        ('a,b\r\n1,"2\r\n\r\n"\r\n\r\n3,4\r\n', [2, 4]),
    ],
)
def test_row_numbers_match_spreadsheet_rows(store: Store, tmp_path: Path, text: str, numbers: list[int]) -> None:
    path = write(tmp_path / "a.csv", text)
    assert [row[0] for row in rows(store, csv(path))] == numbers


def test_row_numbers_continue_across_blocks_and_partitions(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text_stream, "BLOCK", 64)
    monkeypatch.setattr(file_formats, "_CHUNK", 50)
    monkeypatch.setattr(file_formats, "_START", 50)
    lines = ["a,b"] + ["" if number % 7 == 0 else f"{number},x" for number in range(2, 500)]
    path = write(tmp_path / "a.csv", "\r\n".join(lines))
    found = rows(store, csv(path, partition_rows=90))
    assert [row[0] for row in found] == [number for number in range(2, 500) if number % 7]
    assert all(str(number) == value for number, value, _ in found)
    assert [part.rows for part in load(store, csv(path, partition_rows=90)).partitions] == [90, 90, 90, 90, 67]


def test_row_of_empty_values_is_kept_and_blank_line_skipped(store: Store, tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", 'a,b\n,\n\n"",""\n1,2\n')
    assert rows(store, csv(path)) == [(2, None, None), (4, None, None), (5, "1", "2")]


def test_single_column_keeps_quoted_empty_values_and_skips_blank_lines(store: Store, tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", 'a\n1\n\n""\n2\n')
    assert rows(store, csv(path)) == [(2, "1"), (4, None), (5, "2")]


def test_blank_lines_inside_quotes_are_kept(store: Store, tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", 'a,b\n1,"x\n\n\ny"\n\n2,"\r\n\r\n"\n')
    assert rows(store, csv(path)) == [(2, "1", "x\n\n\ny"), (4, "2", "\r\n\r\n")]


@pytest.mark.integration
def test_quoted_line_ending_survives_block_boundary(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "a.csv", 'a,b\r\n1,"x\r\ny"\r\n3,"z\r\n"\r\n')
    for size in range(16, 40):
        monkeypatch.setattr(text_stream, "BLOCK", size)
        fresh = Store(tmp_path / f"var-{size}")
        assert rows(fresh, csv(path)) == [(2, "1", "x\r\ny"), (3, "3", "z\r\n")]


def test_missing_tokens_match_stripped_values_only_with_strip(store: Store, tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", " a , b\n ? ,NA\n x ,\n")
    assert rows(store, csv(path, missing=("?", "NA"))) == [(2, " ? ", None), (3, " x ", None)]
    assert rows(store, csv(path, missing=("?", "NA"), strip=True)) == [(2, None, None), (3, "x", None)]
    assert load(store, csv(path)).info["columns"][0]["name"] == "a"


def test_headerless_file_uses_configured_column_names(store: Store, tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "1,2\n3,4\n")
    assert rows(store, csv(path, header=False, columns=("x", "y"))) == [(1, "1", "2"), (2, "3", "4")]


def test_columns_without_names_are_numbered_and_logged(
    store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "ai_pipeline.data_loader")
    dataset = load(store, csv(write(tmp_path / "a.csv", "1,2\n3,4\n"), header=False))
    assert [column["name"] for column in dataset.info["columns"]] == ["column_0", "column_1"]
    assert "column_0 to column_1" in caplog.text


@pytest.mark.parametrize(("delimiter", "quote"), [(";", '"'), ("\t", "'"), ("|", '"')])
def test_configured_delimiter_and_quote_are_used(store: Store, tmp_path: Path, delimiter: str, quote: str) -> None:
    text = f"a{delimiter}b\n{quote}1{delimiter}1{quote}{delimiter}2\n"
    found = rows(store, csv(write(tmp_path / "a.csv", text), delimiter=delimiter, quote=quote))
    assert found == [(2, f"1{delimiter}1", "2")]


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "utf-16", "utf-16-le", "utf-32", "shift_jis", "utf-8-sig"])
def test_configured_encoding_is_used(
    store: Store, tmp_path: Path, encoding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_formats, "_CHUNK", 7)
    monkeypatch.setattr(file_formats, "_START", 7)
    word = "日本" if encoding == "shift_jis" else "Käse"
    path = write(tmp_path / "a.csv", f"name,b\n{word},1\n\n{word}{word},2\n".encode(encoding))
    assert rows(store, csv(path, encoding=encoding)) == [(2, word, "1"), (4, word * 2, "2")]


def test_gzip_is_detected_by_content(store: Store, tmp_path: Path) -> None:
    packed = gzip.compress(b"a,b\n1,2\n") + gzip.compress(b"3,4\n")
    assert rows(store, csv(write(tmp_path / "packed.csv", packed))) == [(2, "1", "2"), (3, "3", "4")]
    assert rows(store, csv(write(tmp_path / "plain.csv.gz", "a,b\n1,2\n"))) == [(2, "1", "2")]


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "zst": lambda data: pa.compress(data, "zstd", asbytes=True),
}


@pytest.mark.integration
@pytest.mark.parametrize("suffix", PACKERS)
def test_compression_is_detected_by_content(store: Store, tmp_path: Path, suffix: str) -> None:
    text = b"a,b\n" + b"".join(b"%d,x\n" % number for number in range(200_000))
    write(tmp_path / f"in/1.csv.{suffix}", PACKERS[suffix](text))
    write(tmp_path / "in/2.csv", PACKERS[suffix](b"a,b\n3,4\n"))
    found = rows(store, csv(tmp_path / "in"))
    assert len(found) == 200_001
    assert found[-2:] == [(200_001, "199999", "x"), (2, "3", "4")]


@pytest.mark.parametrize("suffix", ["gz", *PACKERS])
def test_consecutive_compressed_streams_are_read_whole(store: Store, tmp_path: Path, suffix: str) -> None:
    pack = {**PACKERS, "gz": gzip.compress}[suffix]
    streams = [pack(b"a,b\n1,2\n"), pack(b""), pack(b"3,4\n" * 30_000), pack(b"5,6\n")]
    found = rows(store, csv(write(tmp_path / f"a.csv.{suffix}", b"".join(streams))))
    assert len(found) == 30_002
    assert found[-1] == (30_003, "5", "6")


@pytest.mark.parametrize("suffix", ["gz", *PACKERS])
@pytest.mark.parametrize("rest", [b"7,8\n", b"x", b"BZh9", b"\xfd7zXZ", b"\x1f\x8b"])
def test_bytes_after_the_compressed_data_are_rejected(store: Store, tmp_path: Path, suffix: str, rest: bytes) -> None:
    packed = {**PACKERS, "gz": gzip.compress}[suffix](b"a,b\n1,2\n")
    text = refused(store, csv(write(tmp_path / f"bad.csv.{suffix}", packed + rest)))
    assert "bad.csv" in text
    assert "damaged or cut off" in text


@pytest.mark.parametrize("suffix", PACKERS)
@pytest.mark.parametrize("damage", ["cut off", "changed"])
def test_damaged_compressed_file_is_rejected(store: Store, tmp_path: Path, suffix: str, damage: str) -> None:
    lines = (b"%d,%d\n" % (number, number * number % 997) for number in range(20_000))
    packed = PACKERS[suffix](b"a,b\n" + b"".join(lines))
    half = len(packed) // 2
    bad = packed[:half] if damage == "cut off" else packed[:half] + bytes(300) + packed[half + 300 :]
    text = refused(store, csv(write(tmp_path / f"bad.csv.{suffix}", bad)))
    assert f"bad.csv.{suffix} is a damaged or cut off" in text


def test_numeric_header_of_pandas_is_accepted(store: Store, tmp_path: Path) -> None:
    assert rows(store, csv(write(tmp_path / "a.csv", "0,1,2\n5,6,7\n"))) == [(2, "5", "6", "7")]


WORKBOOK = io.BytesIO()
with zipfile.ZipFile(WORKBOOK, "w") as _archive:
    _archive.writestr("[Content_Types].xml", "<Types/>")
    _archive.writestr("xl/workbook.xml", "<workbook/>")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", ["is empty"]),
        (b"\n\r\n  \n", ["only blank lines"]),
        (b"a,b\n", ["no rows", "bad.csv"]),
        (b"a,b\n\n \n", ["no rows"]),
        (b"a,b\n1,\x002\n", ["character 7 is a NUL"]),
        (WORKBOOK.getvalue(), ["looks like an Excel workbook", "as CSV"]),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1rest", ["Excel workbook of the old kind"]),
        (b"PK\x03\x04abc", ["zip archive"]),
        (b"PAR1....PAR1", ["Parquet", "source.kind: parquet"]),
        (b"SQLite format 3\x00...", ["SQLite database", "source.kind: sql"]),
        (b"%PDF-1.7\n", ["PDF"]),
        (b"<!DOCTYPE html><html>", ["web page"]),
        (b"7z\xbc\xaf....", ["looks like a 7z archive"]),
        (b"BZh91AY&SY....", ["damaged or cut off bzip2 file"]),
        ("a,b\n1,2\n3,Käse\n".encode("cp1252"), ["row 3", "column 'b'", "byte 0xE4", "source.encoding", "cp1252"]),
        ("a,Käse\n1,2\n".encode("cp1252"), ["row 1", "column 2", "byte 0xE4", "source.encoding"]),
        ("a,b\n1,2\n".encode("utf-16"), ["starts like UTF-16", "source.encoding: utf-16"]),
        (b"a,b\n1,2\n\n3,4,5\n", ["row 4", "2 columns expected, 3 found"]),
        (b"a,b\n1,2\n3,4,\xff\n", ["row 3", "0xFF", "too few or too many columns"]),
        (b"a,b\n1\n", ["row 2", "2 columns expected, 1 found"]),
        (b'a,b\n1,"2\n3,4\n5,6"\n7"\n', ["row 3", "2 columns expected, 1 found"]),
        (b'a,b\n"1\n",2,3\n', ["row 2", "3 found", "spans 2 lines: is a quote missing?"]),
        (b"a;b\n1;2\n", ["only one column", 'source.delimiter: ";"']),
        (b"a\tb\n1\t2\n", ["only one column", 'source.delimiter: "\\t"']),
        (b"a|b\n1|2\n", ["only one column", 'source.delimiter: "|"']),
        (b"a,b,a,c,b\n1,2,3,4,5\n", ["more than one column is named 'a', 'b'"]),
        (b",a, ,b\n1,2,3,4\n", ["column 1, 3 has no name"]),
        (b"a,__row\n1,2\n", ["'__row' begins with __"]),
        (b"1.5,-3,1e5\n1,2,3\n", ["header line looks like data: 1.5,-3,1e5", "source.header: false"]),
        (b'a,b\n1,2\n3,"4\n5,6\n', ["row 3", "never closed"]),
        (b'a,b\n1,"2\n', ["row 2", "never closed"]),
        (b'a,"b\n1,2\n', ["row 1", "never closed"]),
        (b'a\n1\n"2\n', ["row 3", "never closed"]),
        (gzip.compress(b"a,b\n1,2\n" * 999, mtime=0)[:-20], ["damaged or cut off gzip"]),
        (gzip.compress(b"a,b\n1,2\n", mtime=0)[:5], ["damaged or cut off gzip"]),
        (gzip.compress(b"a,b\n1,2\n", mtime=0) + b"rubbish", ["damaged or cut off gzip"]),
        (gzip.compress(b"PAR1....", mtime=0), ["Parquet"]),
    ],
)
def test_malformed_file_raises_single_clear_error(
    store: Store, tmp_path: Path, content: bytes, said: list[str]
) -> None:
    path = write(tmp_path / "bad.csv", content)
    text = refused(store, csv(path))
    assert "bad.csv" in text
    for part in said:
        assert part in text


def test_corrupted_gzip_is_rejected(store: Store, tmp_path: Path) -> None:
    packed = bytearray(gzip.compress(b"a,b\n" + b"1,2\n" * 999))
    packed[-8] ^= 1
    assert "damaged" in refused(store, csv(write(tmp_path / "a.csv.gz", bytes(packed))))


@pytest.mark.parametrize("encoding", ["no-such", "rot13", "hex", "undefined", "idna", "a\0b"])
def test_unknown_encoding_is_rejected(store: Store, tmp_path: Path, encoding: str) -> None:
    assert "encoding" in refused(store, csv(write(tmp_path / "a.csv", "a,b\n1,2\n"), encoding=encoding))


@pytest.mark.parametrize("encoding", ["ascii", "shift_jis", "cp1252"])
def test_undecodable_byte_error_names_row_and_column(store: Store, tmp_path: Path, encoding: str) -> None:
    text = refused(store, csv(write(tmp_path / "a.csv", b"a,b\n1,2\n3,\x81\n"), encoding=encoding))
    assert "row 3, column 'b': byte 0x81" in text
    assert encoding in text


def test_truncated_character_is_rejected(store: Store, tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "a,b\n1,2\n".encode("utf-16")[:-1])
    assert "utf-16" in refused(store, csv(path, encoding="utf-16"))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"delimiter": "§"}, "source.delimiter"),
        ({"delimiter": "\n"}, "source.delimiter"),
        ({"quote": "„"}, "source.quote"),
        ({"delimiter": '"'}, "the same"),
    ],
)
def test_invalid_csv_dialect_is_rejected(store: Store, tmp_path: Path, options: dict[str, str], said: str) -> None:
    assert said in refused(store, csv(write(tmp_path / "a.csv", "a,b\n1,2\n"), **options))


@pytest.mark.parametrize(
    ("names", "said"),
    [(("x",), "names 1 columns, the first row has 2"), (("x", "x"), "named 'x'"), (("x", ""), "column 2 has no name")],
)
def test_invalid_column_names_are_rejected(store: Store, tmp_path: Path, names: tuple[str, ...], said: str) -> None:
    assert said in refused(store, csv(write(tmp_path / "a.csv", "1,2\n"), header=False, columns=names))


def test_wrong_delimiter_is_suggested_without_header(store: Store, tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "1;2\n3;4\n")
    assert 'source.delimiter: ";"' in refused(store, csv(path, header=False))
    assert 'source.delimiter: ";"' in refused(store, csv(path, header=False, columns=("x", "y")))


def test_row_longer_than_block_error_suggests_unclosed_quote(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text_stream, "BLOCK", 1 << 20)
    path = write(tmp_path / "a.csv", "a,b\n1,2\n" + '3,"4\n' + "5,6\n" * 1_500_000)
    text = refused(store, csv(path))
    assert "longer than 1 MiB" in text
    assert "quote" in text


def _input(path: Path) -> InputFile:
    data = path.read_bytes()
    return InputFile(path.name, str(path), hashlib.sha256(data).hexdigest(), len(data))


@pytest.mark.integration
def test_parser_reads_few_blocks_ahead_of_its_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A slow consumer must not have the file in memory; Arrow's own thread reads up to 32 blocks ahead."""
    monkeypatch.setattr(text_stream, "BLOCK", 1 << 12)
    monkeypatch.setattr(text_stream, "_MAX_WAIT", 60.0)
    blocks: list[int] = []
    read = text_stream.MarkedStream.read

    def counted(stream: text_stream.MarkedStream, size: int = -1) -> bytes:
        block = read(stream, size)
        if size == text_stream.BLOCK:
            blocks.append(len(block))
        return block

    monkeypatch.setattr(text_stream.MarkedStream, "read", counted)
    path = write(tmp_path / "a.csv", "a,b\n" + "1,some words\n" * 30_000)
    tables = csv_source.read(_input(path), csv(path), [("a", "string"), ("b", "string")])
    for number in range(1, 6):
        next(tables)
        time.sleep(0.1)
        assert len(blocks) <= number + text_stream._AHEAD
    tables.close()
    deadline = time.monotonic() + PATIENCE
    while blocks[-1]:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert sum(map(bool, blocks)) <= 5 + text_stream._AHEAD
    whole = csv_source.read(_input(path), csv(path), [("a", "string"), ("b", "string")])
    assert sum(table.num_rows for table in whole) == 30_000


@pytest.mark.integration
def test_blocks_without_rows_do_not_stop_the_parser(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text_stream, "BLOCK", 64)
    monkeypatch.setattr(text_stream, "_MAX_WAIT", 0.01)
    path = write(tmp_path / "a.csv", "a,b\n1,2\n" + "\n" * 3000 + "3,4\n" + "\n" * 3000)
    assert rows(store, csv(path)) == [(2, "1", "2"), (3003, "3", "4")]


def test_oversized_header_field_is_rejected(store: Store, tmp_path: Path) -> None:
    assert "field" in refused(store, csv(write(tmp_path / "a.csv", "a,b" + "x" * 200_000 + "\n1,2\n")))


@pytest.mark.integration
@FUZZ
@given(st.binary(max_size=300) | st.text(alphabet='ab1,;"\r\n\t ﻿é', max_size=200).map(str.encode))
@example(b"\xff\xfe")
@example(b"\xef\xbb\xbf")
@example(b'"')
@example(b'a,b\n"')
@example(b"a,b\n\xed\xb3\xa9,\xed\n")
@example(b"a,b\n1,2\n\xed,\xff,3\n")
@example(b"\x1f\x8b\x08")
@example(b'""\n""\n')
@example(b"a\n\r\r\n")
@pytest.mark.slow
def test_arbitrary_bytes_load_or_raise_stage_error(store: Store, tmp_path: Path, content: bytes) -> None:
    path = write(tmp_path / "fuzz.csv", content)
    for options in ({}, {"header": False}, {"encoding": "cp1252", "header": False}, {"encoding": "utf-16"}):
        try:
            load(store, csv(path, **options))
        except StageError as error:
            said = str(error)
        else:
            said = "fuzz.csv"
        assert "fuzz.csv" in said


CELL = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=6) | st.text('",;\r\n x', max_size=6)


@st.composite
def tables(draw: st.DrawFn) -> list[list[str]]:
    width = draw(st.integers(1, 4))
    return draw(st.lists(st.lists(CELL, min_size=width, max_size=width), min_size=1, max_size=12))


@pytest.mark.integration
@FUZZ
@given(tables(), st.sampled_from(["\n", "\r\n", "\r"]), st.booleans(), st.integers(0, 64), st.data())
@pytest.mark.slow
def test_csv_module_output_round_trips(
    tmp_path: Path, table: list[list[str]], line_end: str, blank_lines: bool, slack: int, data: st.DataObject
) -> None:
    text = io.StringIO(newline="")
    # The csv module itself forgets to quote a line end of another kind than its own.
    foreign = set("\r\n") - set(line_end)
    sparing = not any(foreign & set(value) for row in table for value in row) and data.draw(st.booleans())
    quoting = csv_module.QUOTE_MINIMAL if sparing else csv_module.QUOTE_ALL
    writer = csv_module.writer(text, lineterminator=line_end, quoting=quoting)  # type: ignore[arg-type]
    names = [f"c{number}" for number in range(len(table[0]))]
    for row in [names, *table]:
        writer.writerow(row)
        if blank_lines:
            text.write(line_end)
    written = text.getvalue()
    expected = [
        (number, *(value or None for value in row))
        for number, row in enumerate(csv_module.reader(io.StringIO(written, newline="")), 1)
        if row
    ][1:]
    path = write(tmp_path / "a.csv", written)
    with pytest.MonkeyPatch.context() as patch:
        longest = max(len(line.encode()) for line in [*map(",".join, table), "x" * 30])
        patch.setattr(text_stream, "BLOCK", 3 * longest + 40 + slack)
        patch.setattr(file_formats, "_CHUNK", 1 + slack)
        patch.setattr(file_formats, "_START", 3 + slack)
        source = csv(path, partition_rows=data.draw(st.integers(1, 5)))
        found = rows(Store(tmp_path / "var"), source)
    assert found == expected
