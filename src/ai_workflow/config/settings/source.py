"""Settings of data sources, a section for each kind."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from ai_workflow.config.settings.column import DecimalSeparator, ThousandsSeparator, check_separators
from ai_workflow.config.settings.config_model import NOT_IN_KEY, RELATIVE_TO_FILE, ConfigModel, Fraction, Scope
from ai_workflow.plugins import names
from ai_workflow.secret_values import Secret

# Value of `delimiter` for runs of spaces and tabs.
WHITESPACE = "whitespace"


class TableSource(ConfigModel):
    """Settings of all sources: missing values, columns that are not read, and rows per partition."""

    scope: ClassVar[Scope] = "pipeline"
    missing: tuple[str, ...] = ()
    strip: bool = False
    drop: tuple[str, ...] = Field(default=(), description="columns that are not read, as those dropped by `schema`")
    default_missing: bool = Field(
        default=True, description="the usual words for a missing value count outside of categories and text"
    )
    decimal: DecimalSeparator | None = Field(default=None, description="decimal separator of all numbers")
    thousands: ThousandsSeparator | None = Field(default=None, description="separator of thousands of all numbers")
    partition_rows: int = Field(default=250_000, ge=1)

    @model_validator(mode="after")
    def _check_separators(self) -> TableSource:
        check_separators(self.decimal, self.thousands)
        return self


def _check_header_or_columns(columns: tuple[str, ...], has_header: bool) -> None:
    if columns and has_header:
        raise ValueError("`columns` names the columns of a file without a header line; set `header: false`")


class CsvSource(TableSource):
    """Delimited text: a file, glob, folder or URL; compressed files are decompressed."""

    kind: Literal["csv"]
    # Names and content of the files are in the cache key.
    path: Annotated[str, RELATIVE_TO_FILE, NOT_IN_KEY]
    header: bool = True
    columns: tuple[str, ...] = ()
    delimiter: str = Field(default=",", description="one character, or `whitespace` for runs of spaces and tabs")
    quote: str = Field(default='"', min_length=1, max_length=1)
    encoding: str = "utf-8"
    skip_rows: int = Field(default=0, ge=0, description="lines before the header")
    comment: str | None = Field(
        default=None, min_length=1, max_length=8, description="lines that begin with it are not rows"
    )
    keep_copy: bool = Field(
        default=False, description="keep a copy of the rows of large local files in the store, instead of an index"
    )

    @property
    def separator(self) -> str:
        """The character between values, once each run of blanks is a tab."""
        return "\t" if self.delimiter == WHITESPACE else self.delimiter

    @model_validator(mode="after")
    def _check_lines(self) -> CsvSource:
        if len(self.delimiter) != 1 and self.delimiter != WHITESPACE:
            raise ValueError("`delimiter` must be one character, or `whitespace` for runs of spaces and tabs")
        if self.comment is not None and (self.comment != self.comment.strip() or not self.comment.isprintable()):
            raise ValueError("`comment` must be the characters that a comment begins with, without spaces")
        if self.comment is not None and self.comment[0] in (self.quote, self.delimiter):
            raise ValueError("`comment` must begin with another character than `quote` and `delimiter`")
        return self

    @model_validator(mode="after")
    def _check_columns(self) -> CsvSource:
        _check_header_or_columns(self.columns, self.header)
        return self


class ParquetSource(TableSource):
    """Parquet: a file, glob, folder or URL."""

    kind: Literal["parquet"]
    # Names and content of the files are in the cache key.
    path: Annotated[str, RELATIVE_TO_FILE, NOT_IN_KEY]


class JsonLinesSource(TableSource):
    """JSON lines, an object per line: a file, glob, folder or URL; compressed files are decompressed."""

    kind: Literal["jsonl"]
    # Names and content of the files are in the cache key.
    path: Annotated[str, RELATIVE_TO_FILE, NOT_IN_KEY]


class ExcelSource(TableSource):
    """A sheet of Excel workbooks: a file, glob, folder or URL; needs the extra `excel`."""

    kind: Literal["excel"]
    # Names and content of the files are in the cache key.
    path: Annotated[str, RELATIVE_TO_FILE, NOT_IN_KEY]
    sheet: str | None = Field(default=None, description="name of the sheet; the only one with rows if not given")
    header: bool = True
    columns: tuple[str, ...] = ()
    skip_rows: int = Field(default=0, ge=0, description="rows before the header")

    @model_validator(mode="after")
    def _check_columns(self) -> ExcelSource:
        _check_header_or_columns(self.columns, self.header)
        return self


class SqlSource(TableSource):
    """A table or query by SQLAlchemy, from `url` or the section `database`."""

    kind: Literal["sql"]
    url: Annotated[Secret | None, RELATIVE_TO_FILE] = None
    table: str | None = None
    query: str | None = None

    @model_validator(mode="after")
    def _check_table_or_query(self) -> SqlSource:
        if (self.table is None) == (self.query is None):
            raise ValueError("give either `table` or `query`")
        return self


class SampleSource(TableSource):
    """A data set of scikit-learn, or rows of the seeded generator `synthetic`."""

    kind: Literal["sample"]
    name: Literal["digits", "breast_cancer", "wine", "iris", "diabetes", "synthetic"] = "digits"
    rows: int = Field(default=100_000, ge=1)
    seed: int = 0
    drift: float = Field(default=0.0, ge=0, description="shift of the inputs, in standard deviations")
    concept_drift: Fraction = Field(default=0.0, description="share of the signal that no longer holds")

    def used(self) -> ConfigModel:
        """Return the section without fields that the sample does not use."""
        return self if self.name == "synthetic" else self._without("rows", "seed", "drift", "concept_drift")


class OwnSource(TableSource):
    """Rows of own code: `kind` is module:Class, or the entry point of an installed package."""

    kind: str
    params: dict[str, Any] = Field(default_factory=dict, description="keyword arguments of the class")


# The tag of own code in the unions below; no kind has this name.
OWN = "own"
KINDS = ("csv", "parquet", "jsonl", "excel", "sql", "sample")


def _tag(value: Any) -> str | None:
    """Return the member of the union that a mapping or section belongs to."""
    kind = value.get("kind") if isinstance(value, dict) else getattr(value, "kind", None)
    is_own = isinstance(kind, str) and kind not in KINDS and names.problem("sources", kind, KINDS) is None
    return OWN if is_own else None if kind is None else str(kind)


FileSource = CsvSource | ParquetSource | JsonLinesSource | ExcelSource
_Csv = Annotated[CsvSource, Tag("csv")]
_Parquet = Annotated[ParquetSource, Tag("parquet")]
_JsonLines = Annotated[JsonLinesSource, Tag("jsonl")]
_Excel = Annotated[ExcelSource, Tag("excel")]
_Sql = Annotated[SqlSource, Tag("sql")]
_Sample = Annotated[SampleSource, Tag("sample")]
_Own = Annotated[OwnSource, Tag(OWN)]
Source = Annotated[_Csv | _Parquet | _JsonLines | _Excel | _Sql | _Sample | _Own, Discriminator(_tag)]
LabelSource = Annotated[_Csv | _Parquet | _JsonLines | _Excel | _Sql | _Own, Discriminator(_tag)]
