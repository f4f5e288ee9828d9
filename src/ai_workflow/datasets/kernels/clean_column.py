"""Clean values of a column of a loaded table; text goes to the kernels, other cells to `cells.clean`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ai_workflow.config.settings import Column
from ai_workflow.datasets import cells, coercion, source_columns
from ai_workflow.datasets.category_spelling import Spelling
from ai_workflow.datasets.cells import CellRules
from ai_workflow.datasets.kernels import exact, text_coercion
from ai_workflow.datasets.kernels.exact import Finding
from ai_workflow.datasets.kernels.plain_text import Numbers, Plain
from ai_workflow.datasets.notation import missing_words
from ai_workflow.datasets.partitions import ROW, SOURCE

if TYPE_CHECKING:
    import pyarrow as pa


def clean(
    values: pa.ChunkedArray, column: Column, rules: CellRules, spelling: Spelling, plain: Plain | None = None
) -> tuple[pa.Array, list[Finding]]:
    """Return the result of `cells.clean` for an Arrow column.

    Args:
        values: a column of a loaded table.
        column: the declaration of the column.
        rules: the rules of the training source.
        spelling: the spelling of the column in the training source.
        plain: the plain numbers or timestamps in the values, if they were read before.
    """
    import pyarrow as pa

    if not pa.types.is_string(values.type) or spelling.kind != cells.TEXT:
        return exact.to_arrow(*cells.clean(exact.to_series(values), column, rules, spelling))
    tokens = rules.numbers if isinstance(plain, Numbers) else rules.missing
    if plain is not None and not tokens and text_coercion.is_settled(plain, column):
        # No cell can be missing or odd.
        return text_coercion.of_settled(plain, column)
    missing = source_columns.MissingRules(rules.missing, rules.strip)
    normalized = source_columns.normalize(values, "string", missing)
    text = contiguous(normalized)
    if plain is None or not normalized.equals(values):
        plain = text_coercion.read(text, column)
    unread = None if plain is None else len(text) - text.null_count - int(plain.plain.sum())
    if unread != 0 and rules.default_missing and column.type in missing_words.TYPES:
        # A number or timestamp that was read is no word.
        text = _without_missing_words(text, None if plain is None else pa.array(~plain.plain))
    return text_coercion.coerce(text, column, rules.numbers, plain)


def to_category(values: pa.Array) -> pa.Array:
    """Return clean values as texts of a category."""
    import pyarrow as pa

    if pa.types.is_large_string(values.type):
        return values
    return exact.to_arrow(*coercion.coerce(exact.to_series(values), Column(type="category", nullable=True)))[0]


def to_text(values: pa.Array) -> pa.Array:
    """Return clean values as text, as pandas writes them."""
    import pyarrow as pa

    if pa.types.is_large_string(values.type):
        return values
    return exact.to_arrow(exact.to_series(values).astype("str"), [])[0]


def row_ids(table: pa.Table, source: str) -> pa.ChunkedArray:
    """Return `<file>:<row>` of each row; `source` names the file of a table without `__source`."""
    import pyarrow as pa
    import pyarrow.compute as pc

    files = table[SOURCE].cast(pa.string()) if SOURCE in table.column_names else source
    return pc.binary_join_element_wise(files, table[ROW].cast(pa.string()), ":")


def contiguous(text: pa.ChunkedArray) -> pa.Array:
    """Return text as one array, which can have more than 2 GB."""
    import pyarrow as pa

    return text.cast(pa.large_string()).combine_chunks()


def _without_missing_words(text: pa.Array, unread: pa.BooleanArray | None) -> pa.Array:
    """Return text with the usual words for a missing value as missing; those with a digit have a `#`.

    Args:
        text: the cells.
        unread: a mask of the cells that can be such a word; None: all.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    cells = text if unread is None else text.filter(unread)
    can_be_word = pc.fill_null(pc.match_substring_regex(cells, "^[^0-9]*$|#"), False)
    if not pc.any(can_be_word).as_py():
        return text
    distinct = cells.filter(can_be_word).unique()
    words = distinct.filter(pa.array(missing_words.is_word(exact.to_series(distinct)).to_numpy(dtype=bool)))
    return pc.if_else(pc.is_in(text, words), pa.scalar(None, text.type), text) if len(words) else text
