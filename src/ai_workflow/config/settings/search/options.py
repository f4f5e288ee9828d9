"""Settings of the hyperparameter search: number of trials, metric, rows that score them, ranges of the parameters."""

from __future__ import annotations

import contextlib
import math
import re
from typing import Any, ClassVar, Self

from pydantic import Field, field_validator, model_validator

from ai_workflow.config.settings.config_model import ConfigModel, Scope

# Beyond it a float does not have all whole numbers.
_MAX_WHOLE = 2**53


class SearchParameter(ConfigModel):
    """Values of one parameter: from `low` to `high`, or `choices`. Two whole numbers give whole numbers."""

    scope: ClassVar[Scope] = "pipeline"
    low: int | float | None = Field(default=None, description="smallest value; whole numbers if both are")
    high: int | float | None = Field(default=None, description="largest value")
    log: bool = Field(default=False, description="values are drawn from the logarithm of the range")
    choices: tuple[Any, ...] | None = Field(default=None, description="all values, instead of a range")

    @field_validator("low", "high", mode="before")
    @classmethod
    def _number(cls, value: object) -> object:
        """Read a quoted number as it is written: pydantic would read 0.0 as a whole number."""
        if isinstance(value, bool):
            raise ValueError("must be a number")
        if isinstance(value, str):
            with contextlib.suppress(ValueError):
                value = float(value) if re.search("[.eE]", value) else int(value)
        if isinstance(value, int) and abs(value) > _MAX_WHOLE:
            raise ValueError(f"whole numbers must be from -{_MAX_WHOLE} to {_MAX_WHOLE}")
        return value

    @model_validator(mode="after")
    def _check_values(self) -> Self:
        if self.choices is not None:
            if self.low is not None or self.high is not None or self.log:
                raise ValueError("choices excludes low, high and log. Remove one or the other")
            self._check_choices(self.choices)
            return self
        if self.low is None or self.high is None:
            raise ValueError("needs low and high, as in {low: 8, high: 128}, or choices: [gbdt, dart]")
        if self.low >= self.high:
            raise ValueError(f"low must be less than high, {self.high:g}, but it is {self.low:g}")
        if self.log and self.low <= 0:
            raise ValueError(f"low must be greater than 0 with log: true, but it is {self.low:g}")
        if not math.isfinite(float(self.high) - float(self.low)):
            raise ValueError("high - low must be a finite number")
        return self

    @staticmethod
    def _check_choices(choices: tuple[Any, ...]) -> None:
        if not choices:
            raise ValueError("choices must have at least one value")
        if not all(map(_is_finite, choices)):
            raise ValueError("choices must be finite, without .inf and .nan")
        # 1, 1.0 and true are different choices.
        written = [repr(choice) for choice in choices]
        if repeated := next((text for text in written if written.count(text) > 1), None):
            raise ValueError(f"choices has {repeated} more than once. Remove one")

    @property
    def is_whole(self) -> bool:
        """Whether the range has whole numbers only."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    def end_at(self, value: Any) -> float | None:
        """Return the end of the range that a value is at, up to a hundredth of the range; None within it."""
        if self.low is None or self.high is None:
            return None
        scale = math.log if self.log else float
        low, high, place = scale(self.low), scale(self.high), scale(value)
        near = 0.0 if self.is_whole else (high - low) / 100
        return self.low if place <= low + near else self.high if place >= high - near else None

    def beyond(self, end: float) -> float:
        """Return a value beyond an end of the range: the next whole number, or by a hundredth of the range."""
        assert self.low is not None
        assert self.high is not None
        outwards = -1 if end == self.low else 1
        if self.is_whole:
            return end + outwards
        return end * (self.high / self.low) ** (outwards / 100) if self.log else end + outwards * self._width / 100

    @property
    def count(self) -> float:
        """Number of values of the range; infinite if they are not whole numbers."""
        return self._width + 1 if self.is_whole else math.inf

    @property
    def _width(self) -> float:
        return 0 if self.low is None or self.high is None else self.high - self.low

    @property
    def samples(self) -> tuple[Any, ...]:
        """Values that are valid if the whole range is: its ends and one that is not whole between, or all choices."""
        if self.choices is not None or self.low is None or self.high is None:
            return self.choices or ()
        between = () if self.is_whole else (self.low + self._width / math.pi,)
        return (self.low, self.high, *between)


class Search(ConfigModel):
    """Search of `trainer.params`: each trial trains on training rows and is scored on others of them."""

    scope: ClassVar[Scope] = "pipeline"
    trials: int = Field(default=20, ge=1, le=1000)
    seed: int = Field(default=0, ge=0)
    metric: str | None = Field(default=None, description="metric that is optimized; evaluate.metric if not given")
    folds: int = Field(default=5, ge=2, le=20, description="parts that the training rows are divided into")
    scored_folds: int = Field(
        default=1, ge=1, le=20, description="parts that score a trial, each with a model that learned from the others"
    )
    parameters: dict[str, SearchParameter] = Field(min_length=1, description="ranges of the parameters by name")

    @model_validator(mode="after")
    def _check_folds(self) -> Self:
        if self.scored_folds > self.folds:
            raise ValueError(f"scored_folds must be at most folds, {self.folds}, but it is {self.scored_folds}")
        return self


def _is_finite(value: object) -> bool:
    """Return whether a value, and all values in it, are not infinite or NaN."""
    if isinstance(value, dict):
        return all(map(_is_finite, value.values()))
    if isinstance(value, list | tuple):
        return all(map(_is_finite, value))
    return not isinstance(value, float) or math.isfinite(value)
