"""Counts of the rows that cleaning kept, rejected and left out, and the check against the reject limit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypedDict

from ai_workflow.errors import StageError


class LeftOut(TypedDict):
    """Rows of the source that are not in the clean data, by the reason."""

    rejected: int
    without_target: int
    duplicates: int


@dataclass(frozen=True, slots=True)
class RowCounts:
    """Counts of the rows of a source.

    Args:
        loaded: all rows.
        clean: rows that are kept.
        rejected: rows in quarantine.
        without_target: rows whose target is missing; they are left out of a training and are no rejects.
        duplicates: rows that repeat an earlier row; they are no rejects.
    """

    loaded: int
    clean: int
    rejected: int
    without_target: int = 0
    duplicates: int = 0

    @property
    def message(self) -> str:
        """The counts as text; those of rows left out only if there are any."""
        parts = [f"{self.clean} records cleaned", f"{self.rejected} rejected"]
        parts += [f"{self.without_target} without target left out"] if self.without_target else []
        parts += [f"{self.duplicates} duplicates removed"] if self.duplicates else []
        return ", ".join(parts)

    @property
    def left_out(self) -> LeftOut:
        """The counts of the rows that are not kept."""
        return {"rejected": self.rejected, "without_target": self.without_target, "duplicates": self.duplicates}

    def check(self, target: str | None, key: str, limit: float, summary: str, remedy: str) -> None:
        """Raise StageError if no row is kept, or if the share of rejected rows is above the limit.

        Args:
            target: the target column of a training.
            key: the setting with the limit.
            limit: largest share of the rows, without those that have no target.
            summary: the reasons for the rejections.
            remedy: what to change in the source or its declaration.
        """
        judged = self.loaded - self.without_target
        if self.without_target and not judged:
            raise StageError(
                f"none of {self.loaded} rows has a value in the target column '{target}'",
                "Give rows with a target, or correct target or source.missing. Rows without target can be scored",
            )
        if self.loaded and not self.clean:
            raise StageError(f"no row is left of {self.loaded}: {self._without_target()}{summary}", remedy)
        if self.rejected > limit * judged:
            of = "rows with a target" if self.without_target else "rows"
            raise StageError(
                f"{self.rejected} of {judged} {of} ({self.rejected / judged:.1%}) were rejected, "
                f"above {key} {limit:.1%}: {summary}",
                f"{remedy}, or raise {key}",
            )

    def _without_target(self) -> str:
        return f"{self.without_target} have no target; " if self.without_target else ""
