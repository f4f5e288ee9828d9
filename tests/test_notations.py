"""Numbers, dates and booleans as people write them: the same values by batch and over HTTP, or a warning."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from ai_workflow.config.settings import Column
from ai_workflow.datasets import coercion
from ai_workflow.datasets.notation import class_names, notations, type_evidence, type_inference
from ai_workflow.datasets.notation.type_evidence import TextRules
from ai_workflow.storage.store import Store
from tests.stages.tables import Pipeline, settings
from tests.test_value_semantics import World, write

NUMBERS = {
    "thousands": (lambda value: f"{value:,.2f}", {"thousands": ","}),
    "comma": (lambda value: f"{value:.2f}".replace(".", ","), {"decimal": ","}),
    "european": (lambda value: _european(value, "."), {"decimal": ",", "thousands": "."}),
    "french": (lambda value: _european(value, "\N{NARROW NO-BREAK SPACE}"), {"decimal": ",", "thousands": " "}),
    "swiss": (lambda value: f"{value:,.2f}".replace(",", "'"), {"thousands": "'"}),
    "dollar": (lambda value: f"${value:,.2f}", {"thousands": ",", "unit": "$"}),
    "euro": (lambda value: f"{_european(value, '.')} €", {"decimal": ",", "thousands": ".", "unit": "€"}),
    "code": (lambda value: f"USD {value:.2f}", {"unit": "USD"}),
    "percent": (lambda value: f"{value:.2f} %", {"unit": "percent"}),
    "parentheses": (
        lambda value: f"({value:.2f})" if value % 2 < 1 else f"{value:.2f}",
        {"accounting": True},
    ),
    "trailing minus": (lambda value: f"{value:.2f}-" if value % 2 < 1 else f"{value:.2f}", {"accounting": True}),
}
DATES = [
    "%d/%m/%Y", "%m/%d/%Y", "%d.%m.%Y", "%d.%m.%y", "%Y/%m/%d", "%m/%d/%y", "%d.%m.%Y %H:%M", "%m/%d/%Y %I:%M %p",
    "%b %d, %Y", "%d %B %Y", "%d-%b-%y", "%b %Y", "%Y%m%d", "%Y-%m", "%d-%m-%Y", "%d/%m/%Y %H:%M:%S", "%a, %d %b %Y",
    "%d. %m. %Y", "%Y. %m. %d.", "%d. %m. %Y %H:%M", "%Y%m%dT%H%M%S", "%Y%m%dT%H%MZ",
]  # fmt: skip


def _european(value: float, thousands: str) -> str:
    return f"{value:,.2f}".translate({ord(","): thousands, ord("."): ","})


def _amounts() -> list[float]:
    return [round(3.17 * number**2.3, 2) for number in range(1, 80)]


def _days() -> list[pd.Timestamp]:
    return list(pd.date_range("2023-01-03 01:05", periods=80, freq="169h"))


class Inferred(NamedTuple):
    """The declaration of a column by its values, and warnings."""

    column: Column
    warnings: tuple[str, ...]


def _infer(*cells: str, limit: float = 0.01, **rules: Any) -> Inferred:
    text_rules = TextRules(**rules)
    evidence = type_evidence.count(pd.Series(cells, dtype="str"), text_rules)
    inference = type_inference.infer_column("x", [evidence], limit, text_rules)
    return Inferred(inference.column, inference.warnings)


def _read(column: Column, *cells: str) -> list[Any]:
    values, _ = coercion.coerce(pd.Series(cells, dtype="str"), column)
    return [None if pd.isna(value) else value for value in values]


@pytest.mark.parametrize("name", NUMBERS)
def test_unambiguous_number_notation_is_recognized(name: str) -> None:
    form, options = NUMBERS[name]
    column, warnings = _infer(*map(form, _amounts()))
    assert (column, warnings) == (Column(type="number", nullable=True, **options), ())
    signed = [-value if "accounting" in options and value % 2 < 1 else value for value in _amounts()]
    assert _read(column, *map(form, _amounts())) == signed


@pytest.mark.parametrize("form", DATES)
def test_unambiguous_date_format_is_recognized(form: str) -> None:
    cells = [day.strftime(form) for day in _days()]
    column, warnings = _infer(*cells)
    assert (column, warnings) == (Column(type="datetime", nullable=True, format=form), ())
    assert _read(column, *cells) == [pd.to_datetime(cell, format=form) for cell in cells]


@pytest.mark.parametrize(
    ("cells", "remedies"),
    [
        (["1,234", "5,678"], ['{x: {type: number, thousands: ",", nullable: true}}', 'decimal: ","']),
        (["05/01/2024", "07/02/2024"], ['format: "%d/%m/%Y"', 'format: "%m/%d/%Y"']),
        (["05-01-24 10:00"], ['format: "%d-%m-%y %H:%M"', 'format: "%y-%m-%d %H:%M"']),
        ([*["1.5"] * 97, "unclear", "n/k", "n/k"], ["97.0 % of the values", 'source: {missing: ["n/k", "unclear"]}']),
        ([*["2024-01-05"] * 9, "soon"], ["90.0 % of the values", "are dates", '["soon"]']),
        (["12 kg", "3 kg"], ['{type: number, unit: "kg", nullable: true}']),
        (["$5", "€7"], ["different units"]),
        (["5 %", "0.07"], ["different units"]),
        (["¥1,234", "\N{FULLWIDTH YEN SIGN}5,678"], ['{x: {type: number, thousands: ",", unit: "¥", nullable: true}}']),
        (["1.234,5 kg", "3 kg"], ['{type: number, decimal: ",", thousands: ".", unit: "kg", nullable: true}']),
        (["Jan-24", "Feb-23"], ['format: "%b-%y"', 'format: "%b-%d"']),
        (["5. März 2024", "17. Mai 2023"], ["looks like a date", "{x: {type: category, nullable: true}}"]),
        (["5 de enero de 2024"], ["looks like a date"]),
        (["10/Oct/2000:13:55:36 -0700"], ["looks like a date"]),
        (["2024-W05", "2024-W06"], ["looks like a date"]),
        (["2024Q1", "2024Q2"], ["looks like a date"]),
        (["2024年1月5日"], ["looks like a date"]),
        (["2024년 1월 5일"], ["looks like a date"]),
        (["3. März 2023", "17. April 2023"], ["'3. März 2023'", "looks like a date"]),
        (["3 avril 2023", "4 oct. 2023"], ["'3 avril 2023'", "looks like a date"]),
        (["3 января 2023 г."], ["looks like a date"]),
        (["KW 5/2024", "KW 6/2024"], ["looks like a date"]),
        (["2024-01-25", "26.01.2024"], ["looks like a date"]),
        (["25.01.24", "26.01.2024"], ["looks like a date"]),
        ([*["2024-01-05"] * 9, "0000-00-00"], ["90.0 % of the values", 'source: {missing: ["0000-00-00"]}']),
        ([" red", " blue"], ["' red' in column 'x' begins or ends with a space", "source: {strip: true}"]),
        (
            [*[f"{number}.5" for number in range(60)] * 2, *["unknown"] * 60],
            ["66.7 % of", 'source: {missing: ["unknown"]}'],
        ),
        (["red", "red ", "blue"], ["'red' and 'red '", "differ by spaces only", "source: {strip: true}"]),
        (["Red", "blue", "RED"], ["'Red' and 'RED'", "differ by case only", "{type: category, nullable: true}"]),
        ([*["1.5"] * 9, "~2"], ["90.0 % of the values", "and reject_limit: 0.1, or"]),
    ],
)
def test_ambiguous_or_nearly_numeric_column_warns_with_the_setting_that_settles_it(
    cells: list[str], remedies: list[str]
) -> None:
    column, warnings = _infer(*cells)
    assert column.type == "category"
    assert len(warnings) == 1
    assert all(remedy in warnings[0] for remedy in ["column 'x'", *remedies])


@pytest.mark.parametrize(
    ("cells", "options", "values"),
    [
        (["\N{MINUS SIGN}1.5", "2.25"], {}, [-1.5, 2.25]),
        (["\N{EN DASH}1.5", "\N{NO-BREAK SPACE}2.25\N{ZERO WIDTH SPACE}"], {}, [-1.5, 2.25]),
        (["\N{FULLWIDTH DIGIT ONE}\N{FULLWIDTH FULL STOP}\N{FULLWIDTH DIGIT FIVE}"], {}, [1.5]),
        (["١٢٣٫٥", "٤٥٦٫٧"], {}, [123.5, 456.7]),
        (["1 234", "12 500", "999"], {"thousands": " "}, [1234, 12500, 999]),
        (["1'234", "12\N{RIGHT SINGLE QUOTATION MARK}500"], {"thousands": "'"}, [1234, 12500]),
        (["5.-", "12.50", "-7.--"], {"accounting": True}, [5, 12.5, -7]),
        (["- 5.5", "+ 7", "\N{MINUS SIGN}\N{NO-BREAK SPACE}8"], {"decimal": "."}, [-5.5, 7, -8]),
        (
            ["1.234,5\N{NO-BREAK SPACE}€", "7\N{NARROW NO-BREAK SPACE}€"],
            {"decimal": ",", "thousands": ".", "unit": "€"},
            [1234.5, 7],
        ),
        (["CHF\N{NO-BREAK SPACE}1'234.50", "CHF\N{THIN SPACE}7"], {"thousands": "'", "unit": "CHF"}, [1234.5, 7]),
        (["12,5\N{NO-BREAK SPACE}%", "7\N{NARROW NO-BREAK SPACE}%"], {"decimal": ",", "unit": "percent"}, [12.5, 7]),
        (["1\N{FIGURE SPACE}234.5", "12\N{NO-BREAK SPACE}500"], {"thousands": " "}, [1234.5, 12500]),
        (
            ["1\N{MODIFIER LETTER APOSTROPHE}234.5", "1`500", "1\N{ACUTE ACCENT}500"],
            {"thousands": "'"},
            [1234.5, 1500, 1500],
        ),
        (["Rs. 1,23,456.50", "Rs. 99.00"], {"thousands": ",", "unit": "Rs."}, [123456.5, 99]),
    ],
)
def test_numbers_in_other_scripts_and_national_forms_have_their_value(
    cells: list[str], options: dict[str, Any], values: list[float]
) -> None:
    column, warnings = _infer(*cells)
    assert (column, warnings) == (Column(type="number", nullable=True, **options), ())
    assert _read(column, *cells) == values


@pytest.mark.parametrize(
    ("cell", "form", "utc"),
    [
        ("2024-01-05 10:00:00 UTC", "%Y-%m-%d %H:%M:%S UTC", "2024-01-05 10:00"),
        ("25/01/2024 10:00 +0200", "%d/%m/%Y %H:%M %z", "2024-01-25 08:00"),
        ("Mon, 01 Jan 2024 10:00:00 GMT", "%a, %d %b %Y %H:%M:%S GMT", "2024-01-01 10:00"),
        ("2024-01-05 10:00:00,5", "%Y-%m-%d %H:%M:%S,%f", "2024-01-05 10:00:00.5"),
        ("Jan-99", "%b-%y", "1999-01-01"),
        ("\N{FULLWIDTH DIGIT TWO}024-01-05", None, "2024-01-05"),
    ],
)
def test_dates_with_zones_and_other_digits_have_their_value(cell: str, form: str | None, utc: str) -> None:
    column, warnings = _infer(cell)
    assert (column, warnings) == (Column(type="datetime", nullable=True, format=form), ())
    assert _read(column, cell) == [pd.Timestamp(utc)]


def test_date_without_leading_zeros_has_one_format_with_iso_dates() -> None:
    cells = ["2024-1-5", "2024-01-06", "2024-11-7"]
    assert _infer(*cells) == (Column(type="datetime", nullable=True, format="%Y-%m-%d"), ())
    assert _read(_infer(*cells).column, *cells) == [
        pd.Timestamp(2024, 1, 5),
        pd.Timestamp(2024, 1, 6),
        pd.Timestamp(2024, 11, 7),
    ]


MEASURES = {
    "time": "{}:30", "time with seconds": "{}:05:07", "time of twelve hours": "{}:15 pm", "days": "{} days 03:00:00",
    "duration": "{}h30m", "duration with spaces": "{} h 5 min", "ISO duration": "PT{}H5M", "fraction": "1 {}/64",
    "hexadecimal": "0x{}", "power": "1.{}x10^3", "exponent": "{}.5×10³", "Fortran": "1.{}D+03", "bound": "<{}",
    "bound with unit": ">= {} mg", "about": "ca. {}", "tolerance": "{}±0.2", "interval": "(0, {}]",
    "millions": "$1.{}M", "rupees": "₹{},000/-", "quoted": '"{}"', "formula": '="{}"', "feet": "{}'11\"",
    "degrees": "{}°51'24\"N",
}  # fmt: skip


@pytest.mark.parametrize("form", MEASURES.values(), ids=MEASURES)
def test_many_quantities_that_no_notation_reads_warn(form: str) -> None:
    cells = [form.format(number) for number in range(10, 40)]
    few, many = _infer(*cells[:20] * 3), _infer(*cells * 2)
    assert few == (Column(type="category", nullable=True), ())
    assert many.column == few.column
    assert len(many.warnings) == 1
    assert f"'{cells[0]}' in column 'x' and its other values look like times" in many.warnings[0]
    assert "category of 30 values" in many.warnings[0]


@pytest.mark.parametrize(
    "form", ["10.0.0.{}", "978-3-16-{}", "1.{}.3", "A{}", "+49 30 {}", "{}-5678", "INV/2024/{}", "M{}"]
)
def test_many_codes_have_no_warning(form: str) -> None:
    assert _infer(*[form.format(number) for number in range(10, 40)] * 2).warnings == ()


def test_column_of_negative_numbers_only_warns_with_the_setting() -> None:
    column, warnings = _infer(*[f"({number}.25)" for number in range(60)])
    assert column.type == "text"
    assert "{x: {type: number, accounting: true, nullable: true}}" in warnings[0]


def test_errors_of_spreadsheets_and_null_markers_are_missing_numbers() -> None:
    cells = ["1", "#DIV/0!", "n.a.", ".", "\\N", "-nan", "#VALUE!"]
    assert _infer(*cells, default_missing=True) == (Column(type="integer", nullable=True), ())


NUMBER = Column(type="number", nullable=True)
INTEGER = Column(type="integer", nullable=True)


@pytest.mark.parametrize(
    ("cells", "column", "warning"),
    [
        (["18446744073709551615", "7"], NUMBER, "'18446744073709551615' in column 'x' has more digits"),
        (["9223372036854775808", "1"], NUMBER, "'9223372036854775808' in column 'x' has more digits"),
        (["-9223372036854775809"], NUMBER, "{x: {type: category, nullable: true}}"),
        (["1e200", "3"], NUMBER, None),
        (["1e19", "-1e19"], NUMBER, None),
        (["9" * 60], NUMBER, "has more digits than a number keeps"),
        (["9223372036854775807", "-9223372036854775808"], INTEGER, None),
        (["9007199254740993", "9007199254740992.0", "1e15", "1e18"], INTEGER, None),
        (["1e3", "-0", "1.0", "nan"], INTEGER, None),
        (["007", "1234"], INTEGER, "'007' in column 'x' has leading zeros, and the column is read as integer"),
        (["05", "11", "0"], INTEGER, None),
        (["007.5", "012"], NUMBER, None),
        (["1", "2", "inf"], NUMBER, 'source: {missing: ["inf"]}'),
        (["1", "2", "-1e400"], NUMBER, "'-1e400' in column 'x' is not finite, so its rows are rejected"),
    ],
)
def test_inferred_type_of_numbers_accepts_them_and_warns_of_lost_digits(
    cells: list[str], column: Column, warning: str | None
) -> None:
    inference = _infer(*cells)
    assert inference.column == column
    assert len(inference.warnings) == (warning is not None)
    assert warning is None or warning in inference.warnings[0]
    _, findings = coercion.coerce(pd.Series(cells, dtype="str"), column)
    assert {reason for reason, rows in findings if rows.any()} <= {"is not finite"}


@pytest.mark.integration
@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_whole_numbers_of_more_than_64_bits_are_equal_by_batch_and_http(tmp_path: Path, kind: str) -> None:
    hashes = [2**64 - 1 - 977 * number**5 for number in range(60)]
    rows = [
        {"hash": str(value), "size": f"{1 + row % 7}e{200 if row % 2 else 3}", "good": "yn"[row % 2]}
        for row, value in enumerate(hashes)
    ]
    path = tmp_path / f"train.{kind}"
    if kind == "csv":
        write(path, rows)
    else:
        frame = pd.DataFrame(rows).assign(hash=pd.Series(hashes, dtype="uint64"))
        frame.assign(size=frame["size"].astype(float)).to_parquet(path)
    world = World(tmp_path, {"kind": kind, "path": str(path)}, {})
    assert {name: world.spec["schema"][name]["type"] for name in ("hash", "size")} == {
        "hash": "number",
        "size": "number",
    }
    made, rejected = world.batch(world.settings.source)
    sent = [{"hash": value, "size": float(row["size"])} for value, row in zip(hashes, rows, strict=True)]
    for asked in (rows, sent):
        assert world.asked([{"hash": row["hash"], "size": row["size"]} for row in asked]) == (made, rejected)
    assert not rejected
    assert len(made) == len(rows)


@pytest.mark.parametrize(
    ("classes", "remedies"),
    [
        (["0", "1", "NA"], ["'NA' in the target 'y'", 'source: {missing: ["NA"]}', 'schema: {"y": {type: category}}']),
        (["N/A", "no", "null", "yes"], ["'N/A', 'null'", 'source: {missing: ["N/A", "null"]}']),
        (["No", "no", "yes"], ["'No' and 'no'", "differ by case only and are two classes"]),
        ([" no", "no", "yes"], ["' no' and 'no'", "source: {strip: true}"]),
        ([" no", " yes"], ["' no' in column 'y' begins or ends with a space", "source: {strip: true}"]),
        (["0", "1", "1.0"], ["'1' and '1.0'", "differ by notation only"]),
    ],
)
def test_doubtful_class_of_an_undeclared_target_warns_with_the_setting(classes: list[str], remedies: list[str]) -> None:
    (warning,) = class_names.warnings("y", classes)
    assert all(remedy in warning for remedy in remedies)


@pytest.mark.parametrize("classes", [["+", "-"], ["0", "1"], ["no", "yes"], ["007", "7"], ["0.5", "1.5"]])
def test_usual_classes_have_no_warning(classes: list[str]) -> None:
    assert class_names.warnings("y", classes) == []


@pytest.mark.integration
@pytest.mark.parametrize("declared", [{}, {"good": {"type": "category"}}])
def test_missing_word_in_the_target_warns_unless_the_target_is_declared(
    tmp_path: Path, declared: dict[str, Any]
) -> None:
    rows = [{"x": str(row), "good": "N/A" if row % 10 == 0 else "yn"[row % 2]} for row in range(60)]
    write(tmp_path / "train.csv", rows)
    world = World(tmp_path, {"kind": "csv", "path": str(tmp_path / "train.csv")}, declared)
    assert world.spec["classes"] == ["N/A", "n", "y"]
    assert [text for text in world.warnings if 'source: {missing: ["N/A"]}' in text] == world.warnings
    assert bool(world.warnings) == (not declared)


@pytest.mark.integration
@pytest.mark.parametrize(
    ("factor", "form"), [(1, "epoch_s"), (1000, "epoch_ms"), (None, "%Y%m%d%H%M%S"), (10_000, None), (0.1, None)]
)
def test_integers_that_may_be_timestamps_warn_unless_declared(
    tmp_path: Path, factor: float | None, form: str | None
) -> None:
    cells = [day.strftime("%Y%m%d%H%M%S") if factor is None else f"{day.timestamp() * factor:.0f}" for day in _days()]
    rows = [{"seen": cell, "good": "yn"[row % 2]} for row, cell in enumerate(cells)]
    write(tmp_path / "train.csv", rows)
    source = {"kind": "csv", "path": str(tmp_path / "train.csv")}
    line = f'schema: {{seen: {{type: datetime, format: "{form}", nullable: true}}}}'
    found = World(tmp_path, source, {}).warnings
    assert [line in text for text in found] == [True] * (form is not None)
    assert World(tmp_path, source, {"seen": {"type": "integer"}}).warnings == []
    if form:
        declared = World(tmp_path, source, {"seen": {"type": "datetime", "format": form}})
        assert declared.warnings == []
        sent = [{"seen": row["seen"]} for row in rows]
        assert declared.batch(declared.settings.source) == declared.asked(sent)


def test_column_of_unique_texts_warns_that_it_is_no_feature() -> None:
    column, warnings = _infer(*[f"name {number}" for number in range(60)])
    assert column.type == "text"
    assert "column 'x' is left out of the features" in warnings[0]


@pytest.mark.parametrize(
    "cells",
    [
        ["red", "blue"], ["A12", "B7"], ["192.168.1.10", "10.0.0.1"], ["12:30", "13:45"], ["2024-13-01", "2024-13-02"],
        ["INV-2024-0001"], ["Windows 2000"], ["April"], ["5,-", "7,-"], ["(1)", "(2)"],
        ["1-2", "3-4"], ["1/2", "3/4"], ["v1", "v2"], ["0000-00-00"], ["None", "-"], ["5% Jan 2024"],
    ],
)  # fmt: skip
def test_words_and_codes_stay_categories_without_a_warning(cells: list[str]) -> None:
    assert _infer(*cells, default_missing=True) == (Column(type="category", nullable=True), ())


def test_notation_is_inferred_from_all_partitions() -> None:
    parts = [["1", "999"], ["1.234,5", "2.000,25"], ["7"]]
    evidence = [type_evidence.count(pd.Series(part, dtype="str")) for part in parts]
    assert type_inference.infer_column("x", evidence, 0.0).column == Column(
        type="number", nullable=True, decimal=",", thousands="."
    )


def test_usual_missing_words_do_not_make_a_column_of_numbers_words() -> None:
    cells = ["1", "2", "N/A", " null ", "-", "?"]
    assert _infer(*cells, default_missing=True).column == Column(type="integer", nullable=True)
    assert _infer(*cells).column.type == "category"


def test_source_separators_apply_to_undeclared_columns() -> None:
    column, _ = _infer("1,5", "2", decimal=",", thousands=".")
    assert column == Column(type="number", nullable=True, decimal=",", thousands=".")
    assert _infer("1.5", "2.5", decimal=",").column.type == "category"
    assert _infer("1.234 €", "2,5 €", decimal=",", thousands=".").column.unit == "€"


@pytest.mark.parametrize(
    ("declared", "cells", "values"),
    [
        ({"thousands": ","}, ["12,34,567", "1,23", "1,234", "0,123", "1234"], [1234567, None, 1234, None, 1234]),
        ({"decimal": ","}, ["1.5", "1,5", "-,5", "1,5e3", "nan"], [None, 1.5, -0.5, 1500, None]),
        ({"unit": "percent"}, ["12 %", "12", "(3%)", "\N{MINUS SIGN}4%", "5 %%", "5 kg"], [12, 12, -3, -4, None, None]),
        ({"unit": "€"}, ["€ -5", "-5€", "(€5)", "€(5)", "--5", "$5"], [-5, -5, -5, -5, None, None]),
    ],
)
def test_declared_notation_reads_its_numbers_only(
    declared: dict[str, Any], cells: list[str], values: list[Any]
) -> None:
    assert _read(Column(type="number", nullable=True, **declared), *cells) == values


def test_declared_boolean_words_replace_the_common_ones() -> None:
    column = Column.model_validate({"type": "boolean", "nullable": True, True: ["ja", "0"], False: ["nein"]})
    assert _read(column, "Ja", "nein", "0", "no", "maybe") == [True, False, True, False, None]
    assert not notations.is_plain(column)


@pytest.mark.parametrize(("form", "cell"), [("epoch_s", "1700000000.25"), ("epoch_ms", "1700000000250")])
def test_epoch_is_read_as_a_date(form: str, cell: str) -> None:
    column = Column(type="datetime", format=form, nullable=True)
    assert _read(column, cell, "1e300", "soon") == [pd.Timestamp("2023-11-14 22:13:20.25"), None, None]
    typed, _ = coercion.coerce(pd.Series([float(cell), None]), column)
    assert typed.tolist()[0] == pd.Timestamp("2023-11-14 22:13:20.25")


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        ({"type": "category", "decimal": ","}, "`decimal` is for columns of type integer or number"),
        ({"type": "number", "decimal": ",", "thousands": ","}, "`thousands` is the decimal separator as well"),
        ({"type": "number", "thousands": "."}, "set decimal: ','"),
        ({"type": "number", "unit": "5 kg"}, "`unit` is a text"),
        ({"type": "boolean", "true": [True]}, "quote the words, because YAML reads yes, no, on, off"),
        ({"type": "number", "true": ["ja"]}, "`true` and `false` are for columns of type boolean"),
        ({"type": "boolean", "true": ["x"], "false": [" X"]}, "'x' is a word of both"),
    ],
)
def test_contradictory_notation_is_refused(declared: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=re.escape(message)):
        Column.model_validate(declared)


@pytest.mark.integration
@given(value=st.floats(-1e12, 1e12, allow_nan=False), name=st.sampled_from([*NUMBERS][:9]))
def test_number_has_the_value_it_was_written_with(value: float, name: str) -> None:
    form, options = NUMBERS[name]
    rounded = round(value, 2)
    assert _read(Column(type="number", **options), form(rounded)) == [rounded + 0.0]


SHOP = {
    "turnover": {"type": "number", "nullable": True, "decimal": ",", "thousands": ".", "unit": "€", "max": 1e6},
    "rate": {"type": "number", "nullable": True, "unit": "percent"},
    "gift": {"type": "boolean", "nullable": True, "true": ["ja"], "false": ["nein"]},
    "day": {"type": "datetime", "nullable": True, "format": "%d/%m/%Y"},
    "seen": {"type": "datetime", "nullable": True, "format": "epoch_ms"},
}


def _shop(path: Path, declared: dict[str, Any]) -> World:
    rows = [
        {
            "turnover": f"{_european(amount, '.')} €" if index % 9 else "n/a", "rate": f"{index % 70} %",
            "gift": "ja" if index % 3 else "nein", "day": f"{1 + index % 28:02}/{1 + index % 12:02}/2024",
            "seen": str(1_700_000_000_000 + 10**7 * index), "code": "None" if index % 4 else "x",
            "pieces": str(index % 7), "good": "yes" if index % 2 else "no",
        }
        for index, amount in enumerate(_amounts())
    ]  # fmt: skip
    write(path / "shop.csv", rows)
    return World(path, {"kind": "csv", "path": str(path / "shop.csv")}, declared)


@pytest.mark.integration
@pytest.mark.parametrize("declared", [SHOP, {name: SHOP[name] for name in ("gift", "day", "seen")}])
def test_notations_give_equal_bytes_by_batch_and_http(tmp_path: Path, declared: dict[str, Any]) -> None:
    world = _shop(tmp_path, declared)
    assert world.spec["schema"]["turnover"]["unit"] == "€"
    good = {
        "turnover": "1.234,50 €", "rate": "7 %", "gift": "Nein", "day": "31/12/2024", "seen": "1700000000250",
        "code": "None", "pieces": "2",
    }  # fmt: skip
    changes: list[tuple[str, str]] = [
        ("turnover", cell) for cell in ("1234,5", "12", "-1.234,50 €", "(5,25 €)", "1,234.50", "N/A", "-", "", "1.23")
    ]
    changes += [("rate", "7.25%"), ("rate", "7"), ("rate", "seven"), ("gift", "JA"), ("gift", "true"), ("gift", "oui")]
    changes += [("day", " 05/01/2024 "), ("day", "2024-01-05"), ("day", "null"), ("seen", "1.7e12"), ("seen", "x")]
    changes += [("code", "-"), ("code", "x"), ("pieces", "2.5"), ("pieces", "two"), ("pieces", "None")]
    rows = [good | {column: cell} for column, cell in changes]
    write(tmp_path / "score.csv", rows)
    source = world.settings.source.model_copy(update={"path": str(tmp_path / "score.csv")})
    batch, http = world.batch(source), world.asked(rows)
    assert batch == http
    refused = {changes[row] for row, _ in http[1]}
    assert refused == {
        ("turnover", "1,234.50"), ("turnover", "1.23"), ("rate", "seven"), ("gift", "oui"), ("day", "2024-01-05"),
        ("seen", "x"), ("pieces", "two"),
    }  # fmt: skip


@pytest.mark.integration
def test_json_number_has_its_own_value_in_a_column_with_a_notation(tmp_path: Path) -> None:
    world = _shop(tmp_path, SHOP)
    text = {
        "turnover": "1,234 €", "rate": "7,5 %".replace(",", "."), "gift": "ja", "day": "31/12/2024",
        "seen": "1700000000000", "code": "x", "pieces": "3",
    }  # fmt: skip
    sent = text | {"turnover": 1.234, "rate": 7.5, "seen": 1_700_000_000_000, "gift": True, "pieces": 3}
    made, refused = world.asked([text, sent])
    assert not refused
    assert made[0] == made[1] == world.encoder.encode_checked([sent])


@pytest.mark.integration
def test_model_card_has_the_warnings_about_columns(tmp_path: Path) -> None:
    store = Store(tmp_path)
    frame = pd.DataFrame(
        {
            "day": [f"{1 + row % 9:02}/{1 + row % 12:02}/2024" for row in range(120)],
            "x": [str(row % 10) for row in range(120)],
            "y": ["a" if row % 10 < 5 else "b" for row in range(120)],
        }
    )
    pipeline = Pipeline(store, settings(target="y", id=None), alone=True)
    made = pipeline.publish(frame)
    assert ["'01/01/2024' in column 'day'" in text for text in made.clean["warnings"]] == [True]
    card = store.read(made.evaluated["files"]["card.md"]["path"]).decode()
    assert "may have the day or the month first" in card


@pytest.mark.integration
def test_inferred_integer_column_accepts_decimals_later(tmp_path: Path) -> None:
    world = _shop(tmp_path, SHOP)
    assert world.spec["schema"]["pieces"]["type"] == "integer"
    row = dict.fromkeys(world.encoder.columns) | {"pieces": 2.5}
    declared = _shop(tmp_path, SHOP | {"pieces": {"type": "integer", "nullable": True}})
    assert not world.asked([row])[1]
    assert declared.asked([row])[1] == {(0, "pieces")}
