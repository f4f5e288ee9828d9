"""Problems of a configuration, reported together with file, line, key and remedy."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ai_workflow.errors import AiWorkflowError
from ai_workflow.telemetry.control_characters import escape

_MAX_LISTED = 100


@dataclass(frozen=True, slots=True)
class Problem:
    """A problem; `line` is 0 and `key` is empty if there is none."""

    file: str
    line: int
    key: str
    message: str

    def __str__(self) -> str:
        location = f"{self.file}:{self.line}" if self.line else self.file
        return ": ".join(part for part in (location, self.key, self.message) if part)


class ConfigError(AiWorkflowError):
    """The configuration is invalid; `str()` lists `problems`, one a line."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(dict.fromkeys(problems))
        super().__init__(self.problems)

    def __str__(self) -> str:
        count = len(self.problems)
        head = f"{count} problem{'' if count == 1 else 's'} in the configuration:"
        more = [f"... and {count - _MAX_LISTED} more"] if count > _MAX_LISTED else []
        return "\n".join([head, *(escape(str(problem)) for problem in self.problems[:_MAX_LISTED]), *more])
