"""Types that a published version has for undeclared columns."""

from __future__ import annotations

from pydantic import Field

from ai_workflow.config.settings import Column, ConfigModel


class PublishedTypes(ConfigModel):
    """Types of the undeclared columns of a version; they are kept unless the values contradict them.

    Args:
        version: the version, None if there is none.
        columns: column -> its declaration in the version.
    """

    version: str | None = None
    columns: dict[str, Column] = Field(default_factory=dict)

    def of(self, name: str) -> Column | None:
        """Return the declaration of a column, None if the version decided none."""
        column = self.columns.get(name)
        return column and column.model_copy(update={"nullable": True})


NO_TYPES = PublishedTypes()
