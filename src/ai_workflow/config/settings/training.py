"""Settings of training: model family, parameters, checkpoints."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from ai_workflow.config.settings.config_model import NOT_IN_KEY, ConfigModel, Fraction, Scope


class Checkpoint(ConfigModel):
    """Frequency and number of checkpoints of a training."""

    scope: ClassVar[Scope] = "deployment"
    every_steps: int = Field(default=50, ge=1)
    every_seconds: float = Field(default=60, gt=0)
    keep: int = Field(default=3, ge=1)


class Trainer(ConfigModel):
    """Model family and parameters, passed to the library unchanged."""

    scope: ClassVar[Scope] = "pipeline"
    kind: Literal["lightgbm", "torch_mlp"] = "lightgbm"
    steps: int = Field(default=200, ge=1)
    seed: int = Field(default=0, ge=0)
    early_stopping: int = Field(
        default=0, ge=0, description="steps without improvement after which training stops; 0 for never"
    )
    validation: Fraction = Field(default=0.1, description="fraction of the training rows for early stopping")
    params: dict[str, Any] = Field(default_factory=dict)
    # Stages get the batch size as an argument: this one, or model.batch_size.
    batch_size: Annotated[int | None, NOT_IN_KEY] = Field(
        default=None,
        ge=1,
        description="rows per training step of a family that trains in batches; model.batch_size if not given",
    )
    checkpoint: Annotated[Checkpoint, NOT_IN_KEY] = Checkpoint()

    def used(self) -> ConfigModel:
        """Return the section without `validation` if early stopping is disabled."""
        return self if self.early_stopping else self._without("validation")
