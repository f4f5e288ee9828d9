"""Which model is trained and how, and when the training saves itself."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from ai_workflow.config.settings.config_model import NOT_IN_KEY, ConfigModel, Fraction, Scope


class Checkpoint(ConfigModel):
    """When a training saves itself, and how many saves are kept."""

    scope: ClassVar[Scope] = "deployment"
    every_steps: int = Field(default=50, ge=1)
    every_seconds: float = Field(default=60, gt=0)
    keep: int = Field(default=3, ge=1)


class Trainer(ConfigModel):
    """The model family and its parameters, passed to the library as they stand."""

    scope: ClassVar[Scope] = "pipeline"
    kind: Literal["lightgbm", "torch_mlp"] = "lightgbm"
    steps: int = Field(default=200, ge=1)
    seed: int = Field(default=0, ge=0)
    early_stopping: int = Field(default=0, ge=0, description="steps without gain before it stops; 0: never")
    validation: Fraction = Field(default=0.1, description="share of the training rows that early stopping watches")
    params: dict[str, Any] = Field(default_factory=dict)
    # What a stage takes is an argument of its own: this one, or else model.batch_size.
    batch_size: Annotated[int | None, NOT_IN_KEY] = Field(
        default=None,
        ge=1,
        description="rows per training step of a family that learns in batches; model.batch_size where not given",
    )
    checkpoint: Annotated[Checkpoint, NOT_IN_KEY] = Checkpoint()

    def used(self) -> ConfigModel:
        """Return the section without `validation` where no early stopping watches rows."""
        return self if self.early_stopping else self._without("validation")
