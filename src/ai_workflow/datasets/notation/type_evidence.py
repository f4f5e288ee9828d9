"""Evidence for the type and notation of an undeclared text column, counted per partition."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple, TypedDict

from ai_workflow.config.settings import Column
from ai_workflow.datasets import coercion
from ai_workflow.datasets.notation import (
    ascii_forms,
    date_shapes,
    measure_shapes,
    missing_words,
    notable_values,
    number_shapes,
)
from ai_workflow.datasets.notation.number_shapes import NumberNotation

if TYPE_CHECKING:
    import pandas as pd

# Notations of numbers that are recognised, the simplest first; those with one decimal separator never contradict.
RECOGNISED = (
    NumberNotation(), NumberNotation(thousands=","), NumberNotation(thousands="'"), NumberNotation(thousands=" "),
    NumberNotation(","), NumberNotation(",", "."), NumberNotation(",", " "), NumberNotation(",", "'"),
)  # fmt: skip
# Cells of a column that decide whether its notations are counted at all, and the shapes that are looked at.
_SAMPLE, _MAX_SHAPES, _MAX_KEPT = 200, 500, 12
_LOOKED_AT = 50
# With fewer distinct values, times and fractions are categories without doubt.
_MANY = 20
_COMPACT = r"(?:19|20)[0-9]{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12][0-9]|3[01])"
# Stands for a zero at the start while the other digits are replaced.
_ZERO = "\ue000"


class TextRules(NamedTuple):
    """Rules of a source for undeclared columns.

    Args:
        decimal: `source.decimal`.
        thousands: `source.thousands`.
        default_missing: `source.default_missing`.
    """

    decimal: str | None = None
    thousands: str | None = None
    default_missing: bool = False

    @property
    def notation(self) -> NumberNotation | None:
        """The declared notation of all numbers, if there is one."""
        return NumberNotation(self.decimal or ".", self.thousands) if self.decimal or self.thousands else None

    @property
    def candidates(self) -> tuple[NumberNotation, ...]:
        """The notations that a column of numbers may have."""
        return (self.notation,) if self.notation else RECOGNISED


PYTHON_RULES = TextRules()


class TypeEvidence(TypedDict):
    """Counts of the values of a column in one partition.

    `whole` counts the numbers without decimals, `integer` those of them that an integer column accepts. `numbers`
    counts the values that each candidate of the rules reads, `units`, `accounting` and `dates` the units, accounting
    negatives and date formats among them. `others` are values that are no numbers or dates, with counts. `notable` are
    the first values of each kind that needs a warning: those of `notable_values`, `date` for unknown forms, and
    `measure` for many quantities that are no numbers.
    """

    present: int
    number: int
    whole: int
    integer: int
    distinct: int
    date: int
    words: int
    numbers: list[int]
    units: dict[str, int]
    accounting: int
    dates: dict[str, int]
    example: str
    others: dict[str, int]
    notable: dict[str, str]


def count(values: pd.Series, rules: TextRules = PYTHON_RULES) -> TypeEvidence:
    """Return the evidence in the values of an undeclared text column."""
    cells = values.dropna()
    present = ascii_forms.of_series(cells)
    notation = rules.notation
    as_number, findings = coercion.coerce(present, notable_values.declared(notation))
    infinite = findings[1][1]
    numbers = int(as_number.notna().sum() + infinite.sum())
    # In a column of numbers, `nan` is a missing value; in a column of words it is a word.
    is_nan = present.str.strip().str.lower() == "nan"
    absent = int(is_nan.sum()) if numbers else 0
    evidence: TypeEvidence = {
        "present": len(present), "number": numbers + absent, "whole": int((as_number % 1 == 0).sum()) + absent,
        "integer": 0, "distinct": int(cells.nunique()), "date": 0, "words": 0, "numbers": [], "units": {},
        "accounting": 0, "dates": {}, "example": "", "others": {}, "notable": {},
    }  # fmt: skip
    is_large = as_number.abs() >= coercion.EXACT
    wide, evidence["notable"] = notable_values.notable_numbers(
        present[is_large], present[infinite], notable_values.with_leading_zero(present, as_number), notation
    )
    evidence["integer"] = evidence["whole"] - wide
    if len(present) and evidence["number"] == evidence["whole"] == len(present):
        _count_compact_dates(present, evidence)
    if evidence["number"] == len(present):
        return evidence
    rest = present[~(as_number.notna() | infinite | is_nan)]
    if rules.default_missing:
        is_word = missing_words.is_word(rest)
        evidence["words"], rest = int(is_word.sum()), rest[~is_word]
        if numbers and not len(rest):
            _count_compact_dates(present[as_number.notna()], evidence)
    _count_rest(present, cells, rest, evidence, rules)
    return evidence


def is_compact_date(cell: str) -> bool:
    """Return whether a text has the form of a date such as 20240131."""
    return re.fullmatch(_COMPACT, cell.strip()) is not None


def _count_compact_dates(present: pd.Series, evidence: TypeEvidence) -> None:
    """Count whole numbers that are dates such as 20240131."""
    text = present.str.strip()
    if not is_compact_date(text.iloc[0]) or not text.str.fullmatch(_COMPACT).all():
        return
    evidence["dates"][date_shapes.COMPACT] = _count_dates(text, date_shapes.COMPACT)


def _count_rest(
    present: pd.Series, cells: pd.Series, rest: pd.Series, evidence: TypeEvidence, rules: TextRules
) -> None:
    """Count notations in a column with values that are not plain numbers.

    Args:
        present: the ASCII forms of the present values.
        cells: the present values.
        rest: those of `present` that are no plain numbers.
        evidence: counts to complete.
        rules: the rules of the source.
    """
    dated = rest.str.match(r"^\s*\d{4}-\d{2}-\d{2}").fillna(False).astype(bool)
    read_dates = rest.iloc[:0]
    if dated.any():
        is_read = _read_dates(rest[dated], None).notna()
        evidence["date"] = int(is_read.sum())
        read_dates = rest[is_read.index[is_read]]
        rest = rest.drop(read_dates.index)
    evidence["notable"] |= notable_values.alike_words(cells[rest.index].unique()[:_MAX_SHAPES].tolist())
    sample = rest.iloc[:: max(1, len(rest) // _SAMPLE)].tolist()
    numeric = sum(number_shapes.split(cell) is not None for cell in sample)
    dates = sum(bool(date_shapes.formats(cell.strip())) for cell in sample)
    unread = rest
    if sample and 2 * numeric >= len(sample):
        _count_numbers(present, evidence, rules.candidates)
        unread = unread[[number_shapes.split(cell) is None for cell in unread.tolist()]]
    if sample and 2 * dates >= len(sample):
        _count_formats(rest, read_dates, evidence)
        unread = unread[[not date_shapes.is_date(cell.strip()) for cell in unread.tolist()]]
    _note_unread(present, rest, evidence)
    if 2 * max(evidence["number"], evidence["date"], *evidence["numbers"], *evidence["dates"].values()) > len(present):
        evidence["others"] = _others(cells[unread.index])


def _note_unread(present: pd.Series, rest: pd.Series, evidence: TypeEvidence) -> None:
    """Note an example of a column of dates in unknown or several forms, or of many quantities that are no numbers."""
    distinct = [cell.strip() for cell in rest.unique()[:_LOOKED_AT].tolist()]
    if not distinct:
        return
    unread = [cell for cell in distinct if date_shapes.is_unread(cell)]
    is_dated = 2 * (len(rest) + evidence["date"]) > len(present) and all(map(date_shapes.is_date_like, distinct))
    in_several_forms = evidence["date"] + sum(evidence["dates"].values()) >= len(present)
    if is_dated and (unread or in_several_forms):
        evidence["notable"]["date"] = (unread or distinct)[0][: notable_values.SHOWN_LENGTH]
    elif evidence["distinct"] > _MANY and all(map(measure_shapes.is_measure, distinct)):
        evidence["notable"]["measure"] = distinct[0]


def _count_numbers(present: pd.Series, evidence: TypeEvidence, candidates: tuple[NumberNotation, ...]) -> None:
    counts, units, accounting = [0] * len(candidates), Counter[str](), 0
    for shape, amount, example in _shapes(present):
        parts = number_shapes.split(shape)
        if parts is None:
            continue
        fits = [number_shapes.plain_body(parts.body, notation) is not None for notation in candidates]
        if not any(fits):
            continue
        counts = [total + amount * fit for total, fit in zip(counts, fits, strict=True)]
        units[f"{parts.unit} " if parts.is_prefix else parts.unit] += amount
        accounting += amount * parts.is_accounting
        if not fits[0] and not evidence["example"]:
            evidence["example"] = example[: notable_values.SHOWN_LENGTH]
    evidence |= {"numbers": counts, "units": dict(units.most_common(_MAX_KEPT)), "accounting": accounting}


def _count_formats(rest: pd.Series, read_dates: pd.Series, evidence: TypeEvidence) -> None:
    """Count the formats of dates that are not ISO 8601; 2024-1-31 has one that reads ISO 8601 as well."""
    text = rest.str.strip()
    forms: dict[str, None] = {}
    for shape, _, _ in _shapes(text):
        forms |= dict.fromkeys(date_shapes.formats(shape))
    counts = {form: _count_dates(text, form) for form in list(forms)[:_MAX_KEPT]}
    for form in counts if len(read_dates) else ():
        counts[form] += _count_dates(read_dates.str.strip(), form) if form.startswith(date_shapes.ISO) else 0
    evidence["dates"] |= {form: amount for form, amount in counts.items() if amount}
    evidence["example"] = evidence["example"] or str(text.iloc[0])[: notable_values.SHOWN_LENGTH]


def _count_dates(text: pd.Series, form: str | None) -> int:
    return int(_read_dates(text, form).notna().sum())


def _read_dates(text: pd.Series, form: str | None) -> pd.Series:
    return coercion.coerce(text, Column(type="datetime", nullable=True, format=form))[0]


def _shapes(text: pd.Series) -> list[tuple[str, int, str]]:
    """Return the shapes of the values with counts and examples: digits are 9, and 0 at the start of a number."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    cells = pa.chunked_array([pa.Array.from_pandas(text, type=pa.string())]).combine_chunks()
    marked = pc.replace_substring_regex(cells, r"^([^0-9]*)0", rf"\1{_ZERO}")
    encoded = pc.replace_substring_regex(marked, "[0-9]", "9").dictionary_encode()
    codes, rows, counts = np.unique(encoded.indices.to_numpy(), return_index=True, return_counts=True)
    found = zip(codes.tolist(), rows.tolist(), counts.tolist(), strict=True)
    shapes = [
        (str(encoded.dictionary[code]).replace(_ZERO, "0"), int(amount), str(cells[row])) for code, row, amount in found
    ]
    # In the order of their first rows, which is that of the codes.
    return sorted(shapes, key=lambda shape: -shape[1])[:_MAX_SHAPES]


def _others(rest: pd.Series) -> dict[str, int]:
    """Return the most frequent values with their counts."""
    counts = sorted(rest.value_counts(sort=False).items(), key=lambda item: (-item[1], item[0]))
    return {str(cell)[: notable_values.SHOWN_LENGTH]: int(amount) for cell, amount in counts[:_MAX_KEPT]}
