"""Evidence for the types of undeclared text columns: plain columns by Arrow kernels, others by the exact code."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ai_workflow.datasets import coercion
from ai_workflow.datasets.kernels import exact, plain_text
from ai_workflow.datasets.kernels.plain_text import Numbers, Plain
from ai_workflow.datasets.notation import ascii_forms, date_shapes, notable_values, number_shapes, type_evidence
from ai_workflow.datasets.notation.type_evidence import TextRules, TypeEvidence

if TYPE_CHECKING:
    import pyarrow as pa

# `distinct` of a column whose distinct values were not counted, because its type is unlikely to depend on them.
NOT_COUNTED = -1
_SAMPLE_ROWS, _MAX_WORDS = 1000, 5000


class Counted(NamedTuple):
    """Type evidence of a column; of one of plain numbers and timestamps only, its numbers, or timestamps if all are."""

    evidence: TypeEvidence
    plain: Plain | None = None


def count(text: pa.Array, rules: TextRules, numbers: Numbers | None = None) -> Counted:
    """Return the result of `type_evidence.count`; `distinct` can be `NOT_COUNTED`.

    Args:
        text: n cells of type large_string.
        rules: the rules of the source for undeclared columns.
        numbers: the plain numbers in the cells, if they were read before.
    """
    present = text.drop_null() if text.null_count else text
    if len(present):
        if counted := _of_plain_cells(text, present, rules, numbers):
            return counted
        if evidence := _of_few_words(present, rules):
            return Counted(evidence)
    return Counted(type_evidence.count(exact.to_series(present), rules))


def count_distinct(text: pa.Array) -> int:
    """Return the number of distinct present values."""
    import pyarrow.compute as pc

    return int(pc.count_distinct(text, mode="only_valid").as_py())


def _of_plain_cells(text: pa.Array, present: pa.Array, rules: TextRules, read: Numbers | None) -> Counted | None:
    """Return the evidence of a column of plain numbers and ISO 8601 timestamps; None if it is another column."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    if rules.notation is not None or not (read or _begins_plain(present)):
        return None
    numbers = read or plain_text.numbers(text)
    count = int(numbers.plain.sum())
    plain: Plain = numbers
    if count < len(present):
        # With the missing cells if there is no number, to be used again.
        plain = plain_text.timestamps(text.filter(pa.array(~numbers.plain)) if count else text)
    date = 0 if plain is numbers else int(plain.plain.sum())
    if count + date < len(present):
        return None
    none = present.slice(0, 0)
    whole = int((np.floor(numbers.values) == numbers.values).sum())
    if whole == len(present) and type_evidence.is_compact_date(present[0].as_py()):
        return None
    is_large = np.abs(numbers.values) >= coercion.EXACT
    large = text.filter(pa.array(is_large)) if is_large.any() else none
    zeros = present.filter(pc.starts_with(present, "0")).unique() if whole == count else none
    wide, notable = 0, dict[str, str]()
    if len(large) or len(zeros):
        wide, notable = notable_values.notable_numbers(
            exact.to_series(large), exact.to_series(none), exact.to_series(zeros)
        )
    evidence: TypeEvidence = {
        "present": len(present), "number": count, "whole": whole, "integer": whole - wide, "distinct": NOT_COUNTED,
        "date": date, "words": 0, "numbers": [], "units": {}, "accounting": 0, "dates": {}, "example": "",
        "others": {}, "notable": notable,
    }  # fmt: skip
    return Counted(evidence, numbers if count else plain)


def _begins_plain(present: pa.Array) -> bool:
    head = present.slice(0, _SAMPLE_ROWS)
    return bool((plain_text.numbers(head).plain | plain_text.timestamps(head).plain).all())


def _of_few_words(present: pa.Array, rules: TextRules) -> TypeEvidence | None:
    """Return the evidence of a column of few distinct words, judged once each; None if it is another column."""
    sample = present.slice(0, _SAMPLE_ROWS)
    if 2 * count_distinct(sample) > len(sample) or _is_value(sample[0].as_py()):
        return None
    distinct = present.dictionary_encode().dictionary
    if len(distinct) > min(_MAX_WORDS, len(present) / 4) or any(map(_is_value, distinct.to_pylist())):
        return None
    evidence = type_evidence.count(exact.to_series(distinct), rules)
    is_word = not any(count for name, count in evidence.items() if name not in ("present", "distinct", "notable"))
    return {**evidence, "present": len(present)} if is_word else None


def _is_value(cell: str) -> bool:
    """Return whether a cell is a number or date in some notation."""
    text = ascii_forms.of_text(cell)
    return number_shapes.split(text) is not None or bool(date_shapes.formats(text.strip()))
