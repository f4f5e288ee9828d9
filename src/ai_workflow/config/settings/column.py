"""Settings of a declared column."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from ai_workflow.config.settings.config_model import ConfigModel, Scope

ColumnType = Literal["integer", "number", "boolean", "category", "datetime", "text"]


class Column(ConfigModel):
    """A declared column: type and constraints of its values."""

    scope: ClassVar[Scope] = "pipeline"
    type: ColumnType
    nullable: bool = False
    min: float | str | None = None
    max: float | str | None = None
    allowed: tuple[str, ...] = ()
    format: str | None = Field(default=None, description="strptime format of a datetime column")
    fill: str | float | int | bool | None = Field(default=None, description="replaces missing values")
    drop: bool = False

    @model_validator(mode="before")
    @classmethod
    def _type_of_dropped(cls, data: Any) -> Any:
        # The type of a column that is not read has no effect.
        return {"type": "text", **data} if isinstance(data, dict) and data.get("drop") is True else data

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
