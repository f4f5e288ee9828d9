"""What is wrong in a configuration, all of it in one report: file, line, key and what to do."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ai_workflow.errors import AiWorkflowError
from ai_workflow.telemetry.control_characters import escape

_TOLD = 100


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong; `line` is 0 and `key` empty where there is none."""

    file: str
    line: int
    key: str
    message: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        return ": ".join(part for part in (place, self.key, self.message) if part)


class ConfigError(AiWorkflowError):
    """The configuration cannot be used; `problems` holds every reason, `str()` is the report, one a line."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(dict.fromkeys(problems))
        super().__init__(self.problems)

    def __str__(self) -> str:
        count = len(self.problems)
        head = f"{count} problem{'' if count == 1 else 's'} in the configuration:"
        more = [f"... and {count - _TOLD} more"] if count > _TOLD else []
        return "\n".join([head, *(escape(str(problem)) for problem in self.problems[:_TOLD]), *more])
