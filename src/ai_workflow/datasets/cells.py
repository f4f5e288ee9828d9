"""Raw cells of a source: the rules for reading them, and their conversion to clean values.

A version stores the rules in its feature spec under `cells`; training, scoring, the service and labels all use them. A
spec of an earlier release without `cells` has no missing tokens and no `strip`, and its columns are text.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pydantic import Field

from ai_workflow.config.settings import Column, ConfigModel, TableSource
from ai_workflow.datasets import coercion, numerals, source_columns
from ai_workflow.datasets.category_spelling import CellError, Spelling, json_text
from ai_workflow.datasets.notation import missing_words, notations

if TYPE_CHECKING:
    import pandas as pd

TEXT = "string"
_NUMERIC = ("integer", "number")


class CellRules(ConfigModel):
    """Rules that a source declares for all its cells, and the kind of each column.

    Args:
        missing: texts that mean a missing value; empty text always does.
        strip: whether spaces around text are removed first.
        default_missing: whether the usual words for a missing value mean one in columns that are not words.
        inferred: columns whose type `integer` was inferred; later values may have decimals.
        kinds: column -> kind, see `source_columns`.
        target: the target column as it was declared.
    """

    missing: tuple[str, ...] = ()
    strip: bool = False
    default_missing: bool = False
    inferred: tuple[str, ...] = ()
    kinds: dict[str, str] = Field(default_factory=dict)
    target: Column | None = None

    @classmethod
    def of_source(cls, source: TableSource) -> CellRules:
        """Return the rules that a source declares."""
        return cls(missing=source.missing, strip=source.strip, default_missing=source.default_missing)

    @classmethod
    def of_spec(cls, spec: Mapping[str, Any]) -> CellRules:
        """Return the rules in the feature spec of a version."""
        return cls.model_validate(spec.get("cells") or {})

    @property
    def numbers(self) -> frozenset[float]:
        """The missing tokens that are numbers, in whatever form a numeric column writes them."""
        return numerals.missing_numbers(self.missing)

    @property
    def tokens(self) -> frozenset[str]:
        """All texts that mean a missing value."""
        return frozenset({"", *(token.strip() if self.strip else token for token in self.missing)})

    def kind(self, name: str) -> str:
        """Return the kind of a column of the source."""
        return self.kinds.get(name, TEXT)

    def accepted(self, name: str, column: Column) -> Column:
        """Return the declaration by which a version reads a column: an inferred integer may have decimals."""
        is_number = column.type == "integer" and name in self.inferred
        return column.model_copy(update={"type": "number"}) if is_number else column

    def spelling(self, name: str, known: Iterable[str] = ()) -> Spelling:
        """Return the spelling of a category column.

        Args:
            name: the column.
            known: its values in the training data and those that are allowed.
        """
        return Spelling(self.kind(name), known, self.missing)


def clean(
    values: pd.Series, column: Column, cells: CellRules, spelling: Spelling
) -> tuple[pd.Series, list[coercion.Finding]]:
    """Return the clean values of raw cells, and the rejected rows with the reasons.

    Text is stripped and compared with the missing tokens, categories are converted to the text of the source, and all
    values to the type of the column.

    Args:
        values: a column of a partition; text is `str`, other cells have the type of their source.
        column: the declaration of the column.
        cells: the rules of the training source.
        spelling: the spelling of the column in the training source.
    """
    if _is_foreign(values, column, spelling):
        values = values.map({value: cell(value, column, spelling) for value in values.dropna().unique().tolist()})
        values = values.astype("str")
    values = _normalize(values, cells, spelling.kind)
    if cells.default_missing and column.type in missing_words.TYPES and _kind(values) == TEXT:
        values = values.mask(missing_words.is_word(values))
    if column.type != "category" or _kind(values) == spelling.kind:
        return coercion.coerce(values, column, cells.numbers)
    texts, rejected = _spelled(values, spelling)
    read, findings = coercion.coerce(texts, column, cells.numbers)
    return _without(read, findings, rejected)


def of_json(
    sent: Sequence[Any], column: Column, cells: CellRules, spelling: Spelling
) -> tuple[pd.Series, list[coercion.Finding]]:
    """Return the clean values of JSON values, and the rejected rows with the reasons.

    A number or boolean becomes the cell of the source: in a category the known text of equal value, in other columns
    its JSON text.

    Args:
        sent: n single values.
        column: the declaration of the column.
        cells: the rules of the training source.
        spelling: the spelling of the column in the training source.
    """
    import pandas as pd

    rejected: dict[str, list[int]] = {}
    texts: list[str | None] = []
    for number, value in enumerate(sent):
        try:
            texts.append(cell(value, column, spelling))
        except CellError as error:
            rejected.setdefault(str(error), []).append(number)
            texts.append(None)
    read, findings = clean(pd.Series(texts, dtype="str"), column, cells, spelling)
    masks = [(reason, read.index.to_series().isin(rows)) for reason, rows in rejected.items()]
    return _without(read, findings, masks)


def cell(value: Any, column: Column, spelling: Spelling) -> str | None:
    """Return the text of a single JSON value; None if it is missing.

    Raises:
        CellError: the category cannot have such a value in the source.
    """
    if isinstance(value, str) or value is None:
        return value
    if column.type == "category":
        return spelling.text(value)
    if isinstance(value, bool) and spelling.kind == "boolean" and column.type in ("integer", "number"):
        return str(int(value))
    if column.type == "text" and not isinstance(value, bool) and spelling.kind in ("integer", "number"):
        return numerals.text(value)
    return notations.number_text(value, json_text(value), column)


def _is_foreign(values: pd.Series, column: Column, spelling: Spelling) -> bool:
    """Return whether typed values are read as their JSON text, because the training source had text there."""
    kind = _kind(values)
    if kind in (TEXT, spelling.kind) or column.type in ("category", "text", kind if kind == "datetime" else ""):
        return False
    return not (kind in _NUMERIC and (spelling.kind in _NUMERIC or column.type in _NUMERIC))


def _normalize(values: pd.Series, cells: CellRules, kind: str) -> pd.Series:
    """Return values stripped and without missing tokens, as the loader of the training source returns them."""
    import pandas as pd
    import pyarrow as pa

    if cells.numbers and kind in _NUMERIC and _kind(values) in _NUMERIC:
        return values.mask(values.isin(cells.numbers).fillna(False).astype(bool))
    if not pd.api.types.is_string_dtype(values):
        return values
    text = pa.chunked_array([pa.Array.from_pandas(values, type=pa.string())])
    missing = () if kind in ("boolean", "datetime") else cells.missing
    normalized = source_columns.normalize(text, "string", source_columns.MissingRules(missing, cells.strip))
    normalized = normalized.to_pandas().astype("str").set_axis(values.index)
    if cells.numbers and kind in _NUMERIC:
        numbers = coercion.coerce(normalized, Column(type="number", nullable=True))[0]
        normalized = normalized.mask(numbers.isin(cells.numbers))
    return normalized  # type: ignore[no-any-return]


def _kind(values: pd.Series) -> str:
    """Return the kind of a column of a partition."""
    from pandas.api import types

    tests = {
        "boolean": types.is_bool_dtype, "integer": types.is_integer_dtype, "number": types.is_float_dtype,
        "datetime": types.is_datetime64_any_dtype,
    }  # fmt: skip
    return next((kind for kind, is_kind in tests.items() if is_kind(values)), TEXT)


def _spelled(values: pd.Series, spelling: Spelling) -> tuple[pd.Series, list[coercion.Finding]]:
    """Return the text of each value in the source, converted once per distinct value."""
    texts: dict[Any, str | None] = {}
    rejected: dict[str, list[Any]] = {}
    for value in values.dropna().unique().tolist():
        try:
            texts[value] = spelling.text(value)
        except CellError as error:
            rejected.setdefault(str(error), []).append(value)
    return values.map(texts).astype("str"), [(reason, values.isin(cells)) for reason, cells in rejected.items()]


def _without(
    read: pd.Series, findings: list[coercion.Finding], rejected: list[coercion.Finding]
) -> tuple[pd.Series, list[coercion.Finding]]:
    """Return values and findings with each rejected cell missing and rejected for that reason only."""
    for _, rows in rejected:
        read = read.mask(rows)
        findings = [(reason, hit & ~rows) for reason, hit in findings]
    return read, findings + rejected
