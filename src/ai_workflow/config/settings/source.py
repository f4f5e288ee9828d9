"""Where rows come from: one section for each kind of source."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from ai_workflow.config.settings.config_model import NOT_IN_KEY, RELATIVE_TO_FILE, ConfigModel, Fraction, Scope
from ai_workflow.secret_values import Secret


class TableSource(ConfigModel):
    """What all sources share: how values read as missing, and how many rows make a partition."""

    scope: ClassVar[Scope] = "pipeline"
    missing: tuple[str, ...] = ()
    strip: bool = False
    partition_rows: int = Field(default=250_000, ge=1)


class CsvSource(TableSource):
    """Delimited text: one file, a glob, a folder or a URL; `.gz` is read as it is."""

    kind: Literal["csv"]
    # The names and the bytes of the files are in the key.
    path: Annotated[str, RELATIVE_TO_FILE, NOT_IN_KEY]
    header: bool = True
    columns: tuple[str, ...] = ()
    delimiter: str = Field(default=",", min_length=1, max_length=1)
    quote: str = Field(default='"', min_length=1, max_length=1)
    encoding: str = "utf-8"

    @model_validator(mode="after")
    def _columns_only_without_header(self) -> CsvSource:
        if self.columns and self.header:
            raise ValueError("`columns` names the columns of a file without a header line; set `header: false`")
        return self


class ParquetSource(TableSource):
    """Parquet: a file, a glob, a folder or a URL."""

    kind: Literal["parquet"]
    # The names and the bytes of the files are in the key.
    path: Annotated[str, RELATIVE_TO_FILE, NOT_IN_KEY]


class SqlSource(TableSource):
    """One table or one query through SQLAlchemy; `url`, or else the section `database`."""

    kind: Literal["sql"]
    url: Annotated[Secret | None, RELATIVE_TO_FILE] = None
    table: str | None = None
    query: str | None = None

    @model_validator(mode="after")
    def _table_or_query(self) -> SqlSource:
        if (self.table is None) == (self.query is None):
            raise ValueError("give either `table` or `query`")
        return self


class SampleSource(TableSource):
    """Real data that ships inside scikit-learn, or rows from the seeded generator `synthetic`."""

    kind: Literal["sample"]
    name: Literal["digits", "breast_cancer", "wine", "iris", "diabetes", "synthetic"] = "digits"
    rows: int = Field(default=100_000, ge=1)
    seed: int = 0
    drift: float = Field(default=0.0, ge=0, description="shift of the inputs, in standard deviations")
    concept_drift: Fraction = Field(default=0.0, description="share of the signal that no longer holds")

    def used(self) -> ConfigModel:
        """Return the section with only those fields that the sample has."""
        return self if self.name == "synthetic" else self._without("rows", "seed", "drift", "concept_drift")


Source = Annotated[CsvSource | ParquetSource | SqlSource | SampleSource, Field(discriminator="kind")]
