"""What can go wrong, said so that the reader can act: what, where, and what to do next."""

from __future__ import annotations

IN_CACHE_KEY = False


class AiWorkflowError(Exception):
    """Base of every error this package raises on purpose; `str()` is what a person reads.

    `stage` is the stage that it ended, once it has ended one.
    """

    stage: str | None = None


class StageError(AiWorkflowError):
    """A stage cannot do its work. Not worth a retry: the input or the settings must change.

    Args:
        problem: what is wrong, with the place: file, row, column, key or version.
        remedy: what to do about it, as an instruction.
    """

    def __init__(self, problem: str, remedy: str = "") -> None:
        super().__init__(problem, remedy)
        self.problem = problem
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.problem}. {self.remedy}".rstrip() if self.remedy else self.problem


class EmptySourceError(StageError):
    """A source is as it should be, but has no rows; where they may come later, that is no mistake."""


class TransientError(StageError):
    """The outside world failed in a way that may pass (network, database down): worth a retry."""


class BrokenVersionError(StageError):
    """A version cannot answer, whatever it is asked; another one may."""


class StoreError(AiWorkflowError):
    """A file of the store is missing, damaged, or cannot be written."""


class RunInterruptedError(AiWorkflowError):
    """The process received a stop signal and stopped after saving its progress."""


class RunCancelledError(RunInterruptedError):
    """A person has cancelled the run in Prefect: it does not resume."""

    def __init__(self) -> None:
        super().__init__("cancelled in Prefect. Progress was saved; the same command resumes from it")
