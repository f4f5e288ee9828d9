"""How versions are watched once they answer: where labels come from, and how much of them is judged."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from ai_workflow.config.settings.config_model import OF_DEPLOYMENT, ConfigModel, Scope
from ai_workflow.config.settings.source import CsvSource, ParquetSource, SqlSource

LabelSource = Annotated[CsvSource | ParquetSource | SqlSource, Field(discriminator="kind")]


class Evaluation(ConfigModel):
    """Labels that come later, joined to predictions; those of `POST /labels` are read as well.

    Where labels are and what they mean belongs to the pipeline; how many are judged is the operator's policy.
    """

    scope: ClassVar[Scope] = "pipeline"
    source: LabelSource | None = Field(default=None, description="a table of labels; it may be read again and again")
    id: str = Field(
        default="prediction_id",
        description="column that names the prediction; the pipeline's `id` column names the row that it is of",
    )
    label: str = Field(default="label", description="column with what turned out to be true")
    time: str | None = Field(
        default=None, description="column with the moment of the label; none: when an evaluation first saw it"
    )
    label_days: float | None = Field(
        default=None,
        gt=0,
        description="no label is looked for longer than this after its prediction, so older files are left closed",
    )
    window: Annotated[int, OF_DEPLOYMENT] = Field(
        default=1000, ge=1, description="accuracy is that of so many of the latest labels"
    )
    days: Annotated[float | None, OF_DEPLOYMENT] = Field(default=None, gt=0, description="and of none older than this")
    minimum: Annotated[int, OF_DEPLOYMENT] = Field(
        default=30, ge=1, description="fewer labels than these tell no accuracy"
    )
    tolerance: float | None = Field(
        default=None, ge=0, description="how far from its label the answer of a regression may be, to be correct"
    )
    drift_rows: Annotated[int, OF_DEPLOYMENT] = Field(
        default=5000, ge=1, description="drift is that of so many of the latest predictions"
    )
    drift_floor: Annotated[float, OF_DEPLOYMENT] = Field(
        default=0.05, gt=0, description="a PSI below it is never called drift"
    )
