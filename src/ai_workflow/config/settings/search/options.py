"""Settings of the hyperparameter search: number of trials, metric, rows that score them, ranges of the parameters."""

from __future__ import annotations

from typing import Any, ClassVar, Self

from pydantic import Field, model_validator

from ai_workflow.config.settings.config_model import ConfigModel, Scope


class SearchParameter(ConfigModel):
    """Values of one parameter: from `low` to `high`, or `choices`. Two whole numbers give whole numbers."""

    scope: ClassVar[Scope] = "pipeline"
    low: int | float | None = Field(default=None, description="smallest value; whole numbers if both are")
    high: int | float | None = Field(default=None, description="largest value")
    log: bool = Field(default=False, description="values are drawn from the logarithm of the range")
    choices: tuple[Any, ...] | None = Field(default=None, description="all values, instead of a range")

    @model_validator(mode="after")
    def _check_values(self) -> Self:
        if self.choices is not None:
            if self.low is not None or self.high is not None or self.log:
                raise ValueError("choices excludes low, high and log. Remove one or the other")
            if not self.choices:
                raise ValueError("choices must have at least one value")
            return self
        if self.low is None or self.high is None:
            raise ValueError("needs low and high, as in {low: 8, high: 128}, or choices: [gbdt, dart]")
        if self.low >= self.high:
            raise ValueError(f"low must be less than high, {self.high:g}, but it is {self.low:g}")
        if self.log and self.low <= 0:
            raise ValueError(f"low must be greater than 0 with log: true, but it is {self.low:g}")
        return self

    @property
    def is_whole(self) -> bool:
        """Whether the range has whole numbers only."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    @property
    def samples(self) -> tuple[Any, ...]:
        """Values that are valid if the whole range is: its ends, or all choices."""
        return (self.low, self.high) if self.choices is None else self.choices


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
