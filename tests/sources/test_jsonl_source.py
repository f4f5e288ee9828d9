"""What a JSON lines source promises: values as JSON types them, rows numbered by line, one error for a bad line."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import random
import zipfile
from pathlib import Path
from typing import Any

import pytest

from ai_workflow.config.settings import JsonLinesSource
from ai_workflow.sources import file_formats
from ai_workflow.sources.typed_files import jsonl_source
from ai_workflow.stages import data_loader
from ai_workflow.storage.store import Store
from tests.semantics.in_process_service import Door
from tests.semantics.pipeline import TARGET, Pipeline
from tests.sources.loading import load, refused, rows, write


def jsonl(path: object, **options: Any) -> JsonLinesSource:
    return JsonLinesSource(kind="jsonl", path=str(path), **options)


def kinds(store: Store, source: JsonLinesSource) -> dict[str, str]:
    return {column["name"]: column["type"] for column in load(store, source).info["columns"]}


def test_values_keep_their_json_types(store: Store, tmp_path: Path) -> None:
    text = '{"i": 1, "n": 2, "b": true, "s": "007", "x": null}\r\n{"s": "a\\nb", "n": 0.1, "b": false, "i": -2}'
    source = jsonl(write(tmp_path / "a.jsonl", text))
    assert kinds(store, source) == {"i": "integer", "n": "number", "b": "boolean", "s": "string", "x": "string"}
    assert rows(store, source) == [(1, 1, 2.0, True, "007", None), (2, -2, 0.1, False, "a\nb", None)]


def test_absent_and_late_keys_are_missing(store: Store, tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", '{"a": 1}\n{}\n\n  \n{"b": "x", "a": 2}\n')
    assert rows(store, jsonl(path)) == [(1, 1, None), (2, None, None), (5, 2, "x")]


def test_whole_numbers_keep_all_digits(store: Store, tmp_path: Path) -> None:
    large, huge = 2**63 - 1, 2**64 + 1
    lines = [{"a": large, "b": huge, "c": 2**53 + 1, "d": 2**53 + 1}, {"a": 1, "b": 2, "c": 0.5, "d": 1}]
    source = jsonl(write(tmp_path / "a.jsonl", "\n".join(map(json.dumps, lines))))
    assert kinds(store, source) == {"a": "integer", "b": "string", "c": "string", "d": "integer"}
    assert rows(store, source) == [(1, large, str(huge), str(2**53 + 1), 2**53 + 1), (2, 1, "2", "0.5", 1)]


def test_column_of_mixed_types_is_text(store: Store, tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", '{"a": 1, "b": true}\n{"a": "x", "b": 1.0}\n')
    assert rows(store, jsonl(path)) == [(1, "1", "true"), (2, "x", "1.0")]


def test_column_of_different_types_in_two_files_is_text(store: Store, tmp_path: Path) -> None:
    write(tmp_path / "in/a.jsonl", '{"a": 1}\n')
    write(tmp_path / "in/b.jsonl", '{"a": "x", "b": 2}\n')
    assert rows(store, jsonl(tmp_path / "in")) == [(1, "1", None), (1, "x", 2)]


def test_nan_is_missing_and_infinity_is_kept(store: Store, tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", '{"a": NaN, "b": 1}\n{"a": -Infinity, "b": 1}\n')
    assert rows(store, jsonl(path)) == [(1, None, 1), (2, float("-inf"), 1)]


def test_missing_tokens_apply_to_text_and_numbers(store: Store, tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", '{"a": -999, "b": " ? "}\n{"a": 5, "b": ""}\n')
    assert rows(store, jsonl(path, missing=("-999", "?"), strip=True)) == [(1, None, None), (2, 5, None)]


def test_dropped_nested_key_is_not_read(store: Store, tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", '{"a": 1, "tags": ["x"]}\n{"a": 2, "tags": {"y": [1]}, "__x": 1}\n')
    assert rows(store, jsonl(path, drop=("tags", "__x"))) == [(1, 1), (2, 2)]


@pytest.mark.integration
@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress, None])
def test_compressed_lines_are_read(store: Store, tmp_path: Path, pack: Any) -> None:
    text = "".join(f'{{"a": {number}, "b": "\u00e4"}}\n' for number in range(30_000)).encode()
    path = tmp_path / "a.json.gz"
    if pack:
        write(path, pack(text))
    else:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("x.json", text)
    found = rows(store, jsonl(path, partition_rows=7000))
    assert (len(found), found[-1]) == (30_000, (30_000, 29_999, "\u00e4"))


def test_rows_are_independent_of_pieces_and_batches(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_formats, "_CHUNK", 7)
    monkeypatch.setattr(file_formats, "_START", 7)
    monkeypatch.setattr(jsonl_source, "_BATCH", 3)
    path = write(tmp_path / "a.jsonl", "\ufeff" + "".join(f'{{"a": "\u20ac{number}"}}\n' for number in range(10)))
    assert rows(store, jsonl(path)) == [(number + 1, f"\u20ac{number}") for number in range(10)]


def test_file_that_was_read_before_is_not_parsed_again(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "a.jsonl", '{"a": 1}\n')
    first = load(store, jsonl(path))
    monkeypatch.setattr(jsonl_source, "_objects", None)
    assert load(store, jsonl(path)) == first


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", ["is empty"]),
        (b"\n \n", ["only blank lines"]),
        (b"{}\n{}\n", ["no key in any line"]),
        (b'{"a": 1}\n{"a": 2\n', ["row 2 is not JSON", '{"a": 2', "one object per line"]),
        (b'{"a": 1}\n{"a": 2}}\n', ["row 2 is not JSON: Extra data"]),
        (b'[{"a": 1}, {"a": 2}]\n', ["row 1 is not a JSON object: [{", "jq -c '.[]'"]),
        (b'{\n  "a": 1\n}\n', ["row 1 is not JSON", "jq"]),
        (b'{"a": 1}\n5\n', ["row 2 is not a JSON object: 5"]),
        (b"a,b\n1,2\n", ["row 1 is not JSON", "a,b"]),
        (b'{"a": 1, "b": 2, "a": 3}\n', ["row 1: the key 'a' is there twice"]),
        (b'{"a": 1}\n{"a": 2, "b": [1]}\n', ["row 2: 'b' holds a list", "schema: {b: {type: text, drop: true}}"]),
        (b'{"a": {"x": 1}}\n', ["row 1: 'a' holds an object", "drop: true"]),
        (b'{"a": ' + b"[" * 100_000 + b"\n", ["row 1 is not JSON"]),
        (b'{"a": ' + b"1" * 5000 + b"}\n", ["row 1 is not JSON", "4300"]),
        (b'{"a": "\xe9"}\n', ["row 1: byte 0xE9 is not utf-8"]),
        (b'{"a": "x"}\n{"a": "\\ud83d"}\n', ["row 2, 'a': '\\ud83d' is half of a character"]),
        (b'{"": 1}\n', ["column 1 has no name"]),
        (b'{"__row": 1}\n', ["'__row' begins with __"]),
        ('{"a": 1}\n'.encode("utf-16"), ["UTF-16"]),
        (b'{"a": "' + b"x" * (9 << 20) + b'"}\n', ["row 1 is longer than 8 MiB"]),
        (gzip.compress(b'{"a": 1}\n', mtime=0)[:-4], ["damaged or cut off gzip"]),
        (b"PAR1....", ["Parquet"]),
    ],
)
def test_bad_line_raises_single_clear_error(store: Store, tmp_path: Path, content: bytes, said: list[str]) -> None:
    text = refused(store, jsonl(write(tmp_path / "bad.jsonl", content)))
    assert "bad.jsonl" in text
    for part in said:
        assert part in text


def test_changed_file_is_rejected(store: Store, tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", '{"a": 1}\n')
    inputs = data_loader.inspect(jsonl(path))
    write(path, '{"a": 2}\n')
    with pytest.raises(Exception, match="changed while it was read"):
        data_loader.load(store, jsonl(path), inputs)


@pytest.mark.integration
def test_json_values_score_equally_in_batch_and_http(tmp_path: Path) -> None:
    chance = random.Random(3)
    lines = []
    for number in range(120):
        age, city = chance.randint(18, 80), chance.choice(["Bonn", "Celle", 7, 7.5, True])
        line = {
            "age": age, "city": city, "member": chance.random() < 0.5, "income": round(chance.gauss(5, 2), 3),
            "code": chance.choice([1, 2, 3, 2**70]), "opened": f"2024-01-{1 + number % 28:02}", "open": None,
            TARGET: ("poor", "rich")[age > 50],
        }  # fmt: skip
        if number % 9 == 0:
            del line["income"]
        lines.append(line)
    write(tmp_path / "a.jsonl", "\n".join(map(json.dumps, lines)))
    schema = {
        "open": {"type": "text", "drop": True}, "code": {"type": "category"},
        "income": {"type": "number", "nullable": True},
    }  # fmt: skip
    pipeline = Pipeline(tmp_path, {"kind": "jsonl", "path": "a.jsonl"}, schema)
    pipeline.has_process = False
    expected = pipeline.batch(pipeline.settings.source).answers
    sent = [{name: value for name, value in line.items() if name not in (TARGET, "open")} for line in lines]
    sent = [{"income": None, **line} for line in sent]
    with Door(pipeline) as door:
        assert door.predict(sent[:60]).answers == {row: expected[row] for row in range(60)}
