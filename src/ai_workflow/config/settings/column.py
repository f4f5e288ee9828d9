"""Settings of a declared column."""

from __future__ import annotations

import re
from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from ai_workflow.config.settings.config_model import ConfigModel, Scope

ColumnType = Literal["integer", "number", "boolean", "category", "datetime", "text"]

DecimalSeparator = Literal[".", ","]
ThousandsSeparator = Literal[",", ".", " ", "'", "_"]
_UNIT = re.compile(r"[^\d\s.,'_+()-]{1,12}\.?")


def check_separators(decimal: str | None, thousands: str | None) -> None:
    """Check that thousands and decimals are separated differently.

    Raises:
        ValueError: they are not.
    """
    if thousands is not None and thousands == (decimal or "."):
        other = "." if thousands == "," else ","
        raise ValueError(f"`thousands` is the decimal separator as well; set decimal: '{other}'")


class Column(ConfigModel):
    """A declared column: type and constraints of its values."""

    scope: ClassVar[Scope] = "pipeline"
    type: ColumnType
    nullable: bool = False
    min: float | str | None = None
    max: float | str | None = None
    allowed: tuple[str, ...] = ()
    format: str | None = Field(default=None, description="strptime format of a datetime column, or epoch_s or epoch_ms")
    decimal: DecimalSeparator | None = Field(default=None, description="decimal separator of a numeric column")
    thousands: ThousandsSeparator | None = Field(default=None, description="separator of thousands")
    unit: str | None = Field(default=None, description="percent, a currency or another unit beside the numbers")
    accounting: bool = Field(default=False, description="(123) and 123- are negative numbers")
    true: tuple[str, ...] = Field(default=(), description="words for true in a boolean column")
    false: tuple[str, ...] = Field(default=(), description="words for false in a boolean column")
    fill: str | float | int | bool | None = Field(default=None, description="replaces missing values")
    drop: bool = False

    @model_validator(mode="before")
    @classmethod
    def _type_of_dropped(cls, data: Any) -> Any:
        # The type of a column that is not read has no effect.
        return {"type": "text", **data} if isinstance(data, dict) and data.get("drop") is True else data

    @model_validator(mode="before")
    @classmethod
    def _boolean_keys_as_text(cls, data: Any) -> Any:
        # YAML reads the keys `true` and `false` as booleans.
        if not isinstance(data, dict):
            return data
        return {str(key).lower() if isinstance(key, bool) else key: value for key, value in data.items()}

    @field_validator("true", "false", mode="before")
    @classmethod
    def _words_as_text(cls, words: Any) -> Any:
        if not isinstance(words, list | tuple):
            return words
        if any(isinstance(word, bool) for word in words):
            raise ValueError("quote the words, because YAML reads yes, no, on, off, true and false as booleans")
        return tuple(map(str, words))

    @model_validator(mode="after")
    def _check_notation(self) -> Column:
        for name in ("decimal", "thousands", "unit", "accounting"):
            if getattr(self, name) and self.type not in ("integer", "number"):
                raise ValueError(f"`{name}` is for columns of type integer or number")
        check_separators(self.decimal, self.thousands)
        if self.unit is not None and not _UNIT.fullmatch(self.unit):
            raise ValueError("`unit` is a text of up to 12 characters without digits, spaces and separators")
        if (self.true or self.false) and self.type != "boolean":
            raise ValueError("`true` and `false` are for columns of type boolean")
        both = {word.strip().lower() for word in self.true} & {word.strip().lower() for word in self.false}
        if both:
            raise ValueError(f"'{min(both)}' is a word of both `true` and `false`")
        return self

    @model_validator(mode="after")
    def _check_type(self) -> Column:
        numeric = self.type in ("integer", "number")
        for name, bound in (("min", self.min), ("max", self.max)):
            if bound is None:
                continue
            if not numeric and self.type != "datetime":
                raise ValueError(f"`{name}` has no meaning for a column of type {self.type}")
            if numeric and isinstance(bound, str):
                raise ValueError(f"`{name}` must be a number for a column of type {self.type}")
            if not numeric and not isinstance(bound, str):
                raise ValueError(f"`{name}` must be a quoted date for a column of type datetime")
        if self.allowed and self.type != "category":
            raise ValueError("`allowed` is for columns of type category")
        if self.format and self.type != "datetime":
            raise ValueError("`format` is for columns of type datetime")
        if numeric and self.fill is not None and (isinstance(self.fill, bool) or not _is_number(self.fill, self.type)):
            raise ValueError(f"`fill` must be a {'whole number' if self.type == 'integer' else 'number'}")
        if self.allowed and self.fill is not None and str(self.fill) not in self.allowed:
            raise ValueError("`fill` is not one of the `allowed` values")
        return self


def _is_number(value: str | float, kind: str) -> bool:
    try:
        return float(value).is_integer() or kind != "integer"
    except ValueError:
        return False
