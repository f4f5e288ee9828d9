"""Validation rules for rows: from the settings for training, from the feature spec for scoring."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ai_workflow.config.settings import Column, ConfigModel, Settings
from ai_workflow.config.settings.column import DecimalSeparator, ThousandsSeparator
from ai_workflow.datasets.category_spelling import Spelling
from ai_workflow.datasets.cells import CellRules
from ai_workflow.features import cell_reader
from ai_workflow.features.spec import FeatureSpec


class RowRules(ConfigModel):
    """Columns, roles, and the share of rows that may be rejected."""

    columns: dict[str, Column]
    id: str | None
    timestamp: str | None
    target: str | None
    task: Literal["classification", "regression"]
    deduplicate: Literal["id", "rows", "none"]
    reject_limit: float
    # Scoring: the columns are those of the training, others are ignored, and the target may be missing.
    closed: bool = False
    # Notation of all numbers of the source; a column may have its own.
    decimal: DecimalSeparator | None = None
    thousands: ThousandsSeparator | None = None
    # Rules for raw cells: of the source, or of the version that scores.
    cells: CellRules = CellRules()
    # Known values of each category, sorted so that the cache key is deterministic.
    known: dict[str, tuple[str, ...]] = Field(default_factory=dict)

    @property
    def limit_key(self) -> str:
        """The setting of the reject limit."""
        return "inference.reject_limit" if self.closed else "reject_limit"

    @classmethod
    def of(cls, settings: Settings) -> RowRules:
        """Return the rules for a training."""
        names = ("columns", "id", "timestamp", "target", "task", "deduplicate", "reject_limit")
        source = settings.source
        return cls(
            cells=CellRules.of_source(source),
            decimal=source.decimal,
            thousands=source.thousands,
            **{name: getattr(settings, name) for name in names},
        )

    @classmethod
    def of_spec(cls, spec: FeatureSpec, settings: Settings) -> RowRules:
        """Return the rules for scoring by a version: the columns of its spec, as in the training."""
        cells = CellRules.of_spec(spec)
        columns = {
            name: cells.accepted(name, Column.model_validate(column))
            for name, column in spec["schema"].items()
            if name not in (spec["target"], *spec.get("training_columns", ()))
        }
        return cls(
            columns=columns,
            id=spec["id"],
            timestamp=spec["timestamp"],
            target=None,
            task=spec["task"],
            deduplicate=settings.deduplicate,
            reject_limit=settings.inference.reject_limit,
            closed=True,
            cells=cells,
            known={name: tuple(sorted(values)) for name, values in cell_reader.known(spec).items()},
        )

    def spelling(self, name: str) -> Spelling:
        """Return the spelling of a column in the training source."""
        return self.cells.spelling(name, self.known.get(name, ()))
