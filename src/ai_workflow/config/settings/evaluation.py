"""Settings of online evaluation: source of labels, and windows."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from ai_workflow.config.settings.config_model import OF_DEPLOYMENT, ConfigModel, Scope
from ai_workflow.config.settings.source import LabelSource


class Evaluation(ConfigModel):
    """Online evaluation by labels of a table and of `POST /labels`.

    Source and meaning of labels belong to the pipeline; the windows belong to the deployment.
    """

    scope: ClassVar[Scope] = "pipeline"
    source: LabelSource | None = Field(default=None, description="table of labels, which is read at each evaluation")
    id: str = Field(
        default="prediction_id",
        description="column with the ID of the prediction, or the `id` column of the pipeline with the ID of the row",
    )
    label: str = Field(default="label", description="column with the ground truth")
    time: str | None = Field(
        default=None,
        description="column with the time of the label; if not given, the time when an evaluation first read it",
    )
    label_days: float | None = Field(
        default=None,
        gt=0,
        description="days after a prediction within which labels are expected; older files are not read",
    )
    window: Annotated[int, OF_DEPLOYMENT] = Field(
        default=1000, ge=1, description="number of the latest labels that accuracy is computed from"
    )
    days: Annotated[float | None, OF_DEPLOYMENT] = Field(default=None, gt=0, description="maximum age of these labels")
    minimum: Annotated[int, OF_DEPLOYMENT] = Field(
        default=30, ge=1, description="minimum number of labels for accuracy"
    )
    tolerance: float | None = Field(
        default=None, ge=0, description="largest difference to the label at which the answer of a regression is correct"
    )
    drift_rows: Annotated[int, OF_DEPLOYMENT] = Field(
        default=5000, ge=1, description="number of the latest predictions that drift is computed from"
    )
    drift_floor: Annotated[float, OF_DEPLOYMENT] = Field(default=0.05, gt=0, description="minimum PSI for drift")
