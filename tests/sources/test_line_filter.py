"""Lines before the header, comments, and values separated by blanks: rows keep their numbers, quoted text its bytes."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from pydantic import ValidationError

from ai_workflow.sources import file_formats, text_stream
from ai_workflow.sources.line_filter import LineFilter
from ai_workflow.storage.store import Store
from tests.sources.loading import csv, load, refused, rows, write


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("title", ["Report, 2024", 'Say "hello', "\u00e4\u00f6", ""])
def test_skipped_lines_precede_the_header_and_count_as_rows(store: Store, tmp_path: Path, end: str, title: str) -> None:
    path = write(tmp_path / "a.csv", end.join([title, "created by x", "a,b", "1,2", "3,4", ""]))
    assert rows(store, csv(path, skip_rows=2)) == [(4, "1", "2"), (5, "3", "4")]
    assert [column["name"] for column in load(store, csv(path, skip_rows=2)).info["columns"]] == ["a", "b"]


def test_skipped_lines_of_a_file_without_header(store: Store, tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "title\n1,2\n")
    assert rows(store, csv(path, skip_rows=1, header=False, columns=("x", "y"))) == [(2, "1", "2")]


def test_error_in_a_row_counts_skipped_lines_and_comments(store: Store, tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "title\na,b\n# c\n1,2\n1,2,3\n")
    assert "row 5: 2 columns expected, 3 found" in refused(store, csv(path, skip_rows=1, comment="#"))


@pytest.mark.parametrize("options", [{"skip_rows": 9}, {"comment": "a"}])
def test_file_with_every_line_left_out_is_rejected(store: Store, tmp_path: Path, options: dict[str, object]) -> None:
    text = refused(store, csv(write(tmp_path / "bad.csv", "a,b\na,c\n"), **options))
    assert "bad.csv has no line that is a row" in text
    assert "source.skip_rows" in text


def test_comment_lines_are_not_rows(store: Store, tmp_path: Path) -> None:
    text = '# by "x, y\n# and\na,b\n1,2\n  # in between, "quoted"\n3,#4\n#\n5,6#7\n# end'
    path = write(tmp_path / "a.csv", text)
    assert rows(store, csv(path, comment="#")) == [(4, "1", "2"), (6, "3", "#4"), (8, "5", "6#7")]


def test_line_of_a_quoted_value_is_no_comment(store: Store, tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", 'a,b\n1,"x\n# ""still\n#"\n# "no\n2,y"z\n#"\n3,"#"\n')
    assert rows(store, csv(path, comment="#")) == [(2, "1", 'x\n# "still\n#'), (4, "2", 'y"z'), (6, "3", "#")]


def test_comment_may_have_several_characters(store: Store, tmp_path: Path) -> None:
    assert rows(store, csv(write(tmp_path / "a.csv", "a\n//x\n/y\n"), comment="//")) == [(3, "/y")]


def test_blanks_separate_values(store: Store, tmp_path: Path) -> None:
    text = '  a   b\tc  \n1 2\t \t3\n\n  "New  York" 5 "x ""y"" "  \r\n \t \n"open\n  end" 6 7'
    path = write(tmp_path / "a.txt", text)
    expected = [(2, "1", "2", "3"), (4, "New  York", "5", 'x "y" '), (6, "open\n  end", "6", "7")]
    assert rows(store, csv(path, delimiter="whitespace")) == expected


@pytest.mark.parametrize("delimiter", [",", "whitespace"])
def test_filtered_text_is_independent_of_pieces(delimiter: str) -> None:
    source = csv("x", delimiter=delimiter, comment="#", skip_rows=1)
    chance = random.Random(7)
    for _ in range(300):
        text = "".join(chance.choice(['"', "#", " ", "\t", ",", "\n", "\r", "\r\n", "ab", "\u00e4"]) for _ in range(40))
        data = text.encode()
        cuts = sorted(chance.choices(range(len(data)), k=5))
        pieces = [data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]
        assert b"".join(LineFilter(source)(pieces)) == b"".join(LineFilter(source)([data])), repr(text)


def test_filter_works_across_blocks_and_partitions(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text_stream, "BLOCK", 64)
    monkeypatch.setattr(file_formats, "_CHUNK", 50)
    monkeypatch.setattr(file_formats, "_START", 50)
    lines = ["title", " a  b"] + ["# x" if row % 7 == 0 else f" {row}\t 'v  {row}'" for row in range(3, 500)]
    path = write(tmp_path / "a.txt", "\r\n".join(lines))
    source = csv(path, delimiter="whitespace", comment="#", skip_rows=1, quote="'", partition_rows=90)
    found = rows(store, source)
    assert [row[0] for row in found] == [row for row in range(3, 500) if row % 7]
    assert all((str(row), f"v  {row}") == (a, b) for row, a, b in found)


@pytest.mark.parametrize(
    "options", [{"delimiter": ",,"}, {"delimiter": ""}, {"comment": ""}, {"comment": " #"}, {"comment": ","},
                {"comment": '"'}, {"skip_rows": -1}]
)  # fmt: skip
def test_unusable_options_are_rejected(options: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        csv("x", **options)


ROWS = "1,2,x\n3,4,y\n5,6,z\n"
SPACED = "1 2 x\n3  4 y\n5 6 z\n"


@pytest.mark.parametrize(
    ("text", "options", "said"),
    [
        (f"Sales report\na,b,c\n{ROWS}", {}, ["source.skip_rows: 1", "a, b, c"]),
        (f"Sales, 2024\n\nby me\na,b,c\n{ROWS}", {}, ["source.skip_rows: 3"]),
        (f"Sales report,,\n,,\na,b,c\n{ROWS}", {}, ["source.skip_rows: 2"]),
        (f"Sales report\n{ROWS}", {"header": False, "columns": ("a", "b", "c")}, ["source.skip_rows: 1"]),
        (f"Sales report\n{ROWS}", {"header": False}, ["source.skip_rows: 1"]),
        ("t\na,b,c\n7,8,9\n4,5,6\n", {"skip_rows": 2}, ["source.skip_rows: 1"]),
        (f"# by x\n# and y\na,b,c\n{ROWS}", {}, ['source.comment: "#"']),
        (f"% by x\na,b,c\n{ROWS}", {}, ['source.comment: "%"']),
        (f"a,b,c\n{ROWS}# end\n7,8,9\n", {}, ['source.comment: "#"']),
        (f"a,b,c\n{ROWS * 9}# end\n7,8,9\n", {}, ["row 29", "begins with '#'", 'source.comment: "#"']),
        (f"a b c\n{SPACED}", {}, ["only one column", "source.delimiter: whitespace", "if it is one column"]),
        (f"# x\na b c\n{SPACED}", {}, ["source.delimiter: whitespace", 'source.comment: "#"']),
        (f"Sales report\na b c\n{SPACED}", {}, ["source.delimiter: whitespace", "source.skip_rows: 1"]),
        (f"a;b;c\n{ROWS}".replace(",", ";"), {}, ["only one column", 'source.delimiter: ";"']),
        (f"sep=;\na;b;c\n{ROWS}".replace(",", ";"), {}, ['source.delimiter: ";"', "source.skip_rows: 1"]),
        ("a;b;c\n1,5;2;3,5\n4,5;2;3,5\n", {}, ['source.delimiter: ";"']),
        ("n a b\n1 2 3\n", {"delimiter": " ", "comment": "#"}, []),
        ("# a b c\n1.5 2 3\n4 5.5 6\n", {}, ["whitespace", 'comment: "#"', "header: false", "columns: [a, b, c]"]),
        ("a,b\nx,1,2\ny,3,4\n", {}, ["skip_rows: 1", "header: false", "columns: [index, a, b]"]),
        ("a,b\n1,2,\n3,4,\n", {}, ["name of the last column", "skip_rows: 1", 'columns: [a, b, "Unnamed: 2"]']),
    ],
)  # fmt: skip
def test_undeclared_shape_names_the_options(
    store: Store, tmp_path: Path, text: str, options: dict[str, object], said: list[str]
) -> None:
    path = write(tmp_path / "bad.csv", text)
    if not said:
        assert rows(store, csv(path, **options)) == [(2, "1", "2", "3")]
        return
    message = refused(store, csv(path, **options))
    assert "bad.csv" in message
    for part in said:
        assert part in message


@pytest.mark.parametrize(
    "text", ["name\nJohn Smith\nJane\n", "#chrom,b\n1,2\n3,4\n", "when\n2024-01-01 10:00\n2024-01-02 10:00\n",
             "a,b\n1,x;y\n2,z;w\n"]
)  # fmt: skip
def test_regular_file_is_read_as_declared(store: Store, tmp_path: Path, text: str) -> None:
    assert len(rows(store, csv(write(tmp_path / "a.csv", text)))) == 2


@pytest.mark.parametrize(
    "text", ['a, b\n1, "2,3"\n1, "2,3"\n', 'a, "b,c"\n1, "2,3"\n1, "2,3"\n', 'a, b, c\n1, "x, y", 2\n1, "z", 2\n']
)
def test_blanks_before_quotes_are_named(store: Store, tmp_path: Path, text: str) -> None:
    problem = 'has blanks before quotes ", which are then part of the text. Write the file without'
    assert problem in refused(store, csv(write(tmp_path / "a.csv", text)))


@pytest.mark.parametrize("text", ["| a | b |\n| --- | --- |\n" + "| 1 | 2 |\n" * 5, 'a, "b,c"\n1, "2,3"\n1, 2\n'])
def test_blanks_beside_another_delimiter_are_not_proposed_as_delimiter(store: Store, tmp_path: Path, text: str) -> None:
    assert "whitespace" not in refused(store, csv(write(tmp_path / "a.csv", text)))


def test_blanks_before_quotes_within_text_are_no_error(store: Store, tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", 'a,b\n1,x "y"\n2, "z" w\n')
    assert rows(store, csv(path)) == [(2, "1", 'x "y"'), (3, "2", ' "z" w')]
