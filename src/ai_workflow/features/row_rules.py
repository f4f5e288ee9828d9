"""The rules that rows must follow: as the settings declare them for a training, or as a version keeps them."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ai_workflow.config.settings import Column, ConfigModel, Settings
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
    # Scoring: all columns are known from training, other columns are ignored, and the target may be absent.
    closed: bool = False
    # How raw cells are read: as the source declares, or as the version declares that scores.
    cells: CellRules = CellRules()
    # The values of each category that the version knows, sorted: the cache key must not depend on a set's order.
    known: dict[str, tuple[str, ...]] = Field(default_factory=dict)

    @classmethod
    def of(cls, settings: Settings) -> RowRules:
        """Return the rules of a training."""
        names = ("columns", "id", "timestamp", "target", "task", "deduplicate", "reject_limit")
        return cls(cells=CellRules.of_source(settings.source), **{name: getattr(settings, name) for name in names})

    @classmethod
    def of_spec(cls, spec: FeatureSpec, settings: Settings) -> RowRules:
        """Return the rules of a scoring by a version: the columns that its spec knows, as training saw them."""
        columns = {name: column for name, column in spec["schema"].items() if name != spec["target"]}
        return cls(
            columns=columns,
            id=spec["id"],
            timestamp=spec["timestamp"],
            target=None,
            task=spec["task"],
            deduplicate=settings.deduplicate,
            reject_limit=settings.reject_limit,
            closed=True,
            cells=CellRules.of_spec(spec),
            known={name: tuple(sorted(values)) for name, values in cell_reader.known(spec).items()},
        )

    def spelling(self, name: str) -> Spelling:
        """Return how the source of the training writes a column."""
        return self.cells.spelling(name, self.known.get(name, ()))
