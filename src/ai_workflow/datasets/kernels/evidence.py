"""Evidence for the types of undeclared text columns, counted with Arrow kernels."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ai_workflow.datasets import coercion
from ai_workflow.datasets.kernels import exact, plain_text

if TYPE_CHECKING:
    import pyarrow as pa

# `distinct` of a column whose distinct values were not counted, because its type is unlikely to depend on them.
NOT_COUNTED = -1
_SAMPLE_ROWS = 1000


def count(text: pa.Array) -> dict[str, int]:
    """Return the result of `coercion.count_type_evidence`; `distinct` can be `NOT_COUNTED`.

    Args:
        text: n cells of type large_string.
    """
    present = text.drop_null()
    if not len(present):
        return coercion.count_type_evidence(exact.to_series(present))
    return _of_few_words(present) or _of_cells(present)


def count_distinct(text: pa.Array) -> int:
    """Return the number of distinct present values."""
    import pyarrow.compute as pc

    return int(pc.count_distinct(text, mode="only_valid").as_py())


def _of_few_words(present: pa.Array) -> dict[str, int] | None:
    """Return the evidence of a column of few distinct words, judged once each; None if it is another column."""
    sample = present.slice(0, _SAMPLE_ROWS)
    if 2 * count_distinct(sample) > len(sample):
        return None
    distinct = present.dictionary_encode().dictionary
    if 4 * len(distinct) > len(present) or plain_text.can_be_value(distinct.slice(0, 1))[0]:
        return None
    evidence = coercion.count_type_evidence(exact.to_series(distinct))
    is_word = not any(evidence[name] for name in evidence if name not in ("present", "distinct"))
    return {**evidence, "present": len(present)} if is_word else None


def _of_cells(present: pa.Array) -> dict[str, int]:
    import numpy as np
    import pyarrow as pa

    values, is_number = plain_text.numbers(present)
    numbers = int(is_number.sum())
    whole = int((values[is_number] % 1 == 0).sum())
    counts = {"present": len(present), "number": numbers, "whole": whole, "distinct": NOT_COUNTED, "date": 0}
    rest = present.filter(pa.array(~is_number))
    if len(rest):
        is_date = plain_text.timestamps(rest)[1]
        counts["date"] = int(is_date.sum())
        odd = rest.filter(pa.array(np.logical_and(~is_date, plain_text.can_be_value(rest))))
        for name, more in _of_odd(odd, is_numeric=numbers > 0).items():
            counts[name] += more
    return counts


def _of_odd(odd: pa.Array, *, is_numeric: bool) -> dict[str, int]:
    """Return the evidence of odd cells; `nan` is a number only in a column with other numbers."""
    import pandas as pd

    if not len(odd):
        return {}
    extra = ["1"] if is_numeric else []
    cells = pd.concat([exact.to_series(odd), pd.Series(extra, dtype="str")], ignore_index=True)
    evidence = coercion.count_type_evidence(cells)
    return {
        "number": evidence["number"] - len(extra),
        "whole": evidence["whole"] - len(extra),
        "date": evidence["date"],
    }
