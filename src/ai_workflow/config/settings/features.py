"""Settings of features: categories, functions of own code, and features derived from columns."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from ai_workflow.config.settings.config_model import ConfigModel, Scope
from ai_workflow.plugins import names

ColumnName = Annotated[str, Field(min_length=1)]
FeatureName = Annotated[str, Field(min_length=1, max_length=200)]


class Ratio(ConfigModel):
    """One column divided by another; missing if the divisor is 0."""

    scope: ClassVar[Scope] = "pipeline"
    kind: Literal["ratio"]
    column: ColumnName
    divisor: ColumnName
    name: FeatureName | None = Field(default=None, description="name of the feature; <column>_per_<divisor> if absent")

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that the feature is computed from."""
        return self.column, self.divisor

    @property
    def feature(self) -> str:
        """The name of the feature."""
        return self.name or f"{self.column}_per_{self.divisor}"


class Difference(ConfigModel):
    """One column minus another; of two dates the days between them."""

    scope: ClassVar[Scope] = "pipeline"
    kind: Literal["difference"]
    column: ColumnName
    minus: ColumnName
    name: FeatureName | None = Field(default=None, description="name of the feature; <column>_minus_<minus> if absent")

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that the feature is computed from."""
        return self.column, self.minus

    @property
    def feature(self) -> str:
        """The name of the feature."""
        return self.name or f"{self.column}_minus_{self.minus}"


class Log(ConfigModel):
    """The natural logarithm of a column, or of the column plus one; missing outside of its domain."""

    scope: ClassVar[Scope] = "pipeline"
    kind: Literal["log", "log1p"]
    column: ColumnName
    name: FeatureName | None = Field(default=None, description="name of the feature; <kind>_<column> if absent")

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that the feature is computed from."""
        return (self.column,)

    @property
    def feature(self) -> str:
        """The name of the feature."""
        return self.name or f"{self.kind}_{self.column}"


class Bins(ConfigModel):
    """The number of the interval that a value is in, from 0 on.

    Interval i begins with edge i - 1, which is in it. Edges are given, or are the quantiles of the training rows that
    divide them into `count` equal parts; equal quantiles make one edge.
    """

    scope: ClassVar[Scope] = "pipeline"
    kind: Literal["bins"]
    column: ColumnName
    edges: tuple[float, ...] | None = Field(default=None, min_length=1, description="ascending inner edges")
    count: int | None = Field(default=None, ge=2, le=256, description="number of intervals with equal shares of rows")
    name: FeatureName | None = Field(default=None, description="name of the feature; <column>_bin if absent")

    @model_validator(mode="after")
    def _check_edges(self) -> Bins:
        if (self.edges is None) == (self.count is None):
            raise ValueError("needs either edges or count")
        if self.edges and any(low >= high for low, high in zip(self.edges, self.edges[1:], strict=False)):
            raise ValueError("edges must ascend")
        return self

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that the feature is computed from."""
        return (self.column,)

    @property
    def feature(self) -> str:
        """The name of the feature."""
        return self.name or f"{self.column}_bin"


class TargetEncoding(ConfigModel):
    """The mean target of the training rows of a category, out of fold for these rows themselves.

    It is shrunk towards the mean of all training rows, which counts as much as `smoothing` rows. Of two classes it is
    the share of the second; more classes have a feature each, `<name>_<class>`.
    """

    scope: ClassVar[Scope] = "pipeline"
    kind: Literal["target"]
    column: ColumnName
    smoothing: float = Field(default=20.0, ge=0, le=1e9, description="weight of the mean of all rows, in rows")
    folds: int = Field(default=5, ge=2, le=20, description="number of parts of the training rows")
    name: FeatureName | None = Field(default=None, description="name of the feature; <column>_target if absent")

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that the feature is computed from."""
        return (self.column,)

    @property
    def feature(self) -> str:
        """The name of the feature, or the start of the names of the features."""
        return self.name or f"{self.column}_target"


DerivedFeature = Ratio | Difference | Log | Bins | TargetEncoding


class FeatureOptions(ConfigModel):
    """Conversion of columns to features."""

    scope: ClassVar[Scope] = "pipeline"
    max_categories: int = Field(default=255, ge=1, description="number of categories kept, the most frequent ones")
    min_count: int = Field(
        default=1, ge=1, description="minimum number of rows of a category; rarer values count as unseen"
    )
    derive: tuple[str | Annotated[DerivedFeature, Field(discriminator="kind")], ...] = Field(
        default=(), description="feature functions of own code, as module:function, and features of columns"
    )

    @property
    def functions(self) -> tuple[str, ...]:
        """The feature functions of own code."""
        return tuple(item for item in self.derive if isinstance(item, str))

    @property
    def encodings(self) -> tuple[TargetEncoding, ...]:
        """The target encodings."""
        return tuple(item for item in self.derive if isinstance(item, TargetEncoding))

    @field_validator("derive")
    @classmethod
    def _check_derive(cls, derive: tuple[str | DerivedFeature, ...]) -> tuple[str | DerivedFeature, ...]:
        texts = [item for item in derive if isinstance(item, str)]
        if problems := [problem for text in texts if (problem := names.problem("features", text, ()))]:
            raise ValueError("; ".join(problems))
        every = [item if isinstance(item, str) else item.feature for item in derive]
        if twice := sorted({text for text in every if every.count(text) > 1}):
            raise ValueError(f"has {', '.join(twice)} twice")
        return derive
