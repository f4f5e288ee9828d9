"""Errors of the package: each message names the problem, its location and the remedy."""

from __future__ import annotations

IN_CACHE_KEY = False


class AiWorkflowError(Exception):
    """Base of every error that the package raises on purpose; `str()` is the message for the user.

    `stage` is the name of the stage that failed with it, None before.
    """

    stage: str | None = None


class StageError(AiWorkflowError):
    """A stage cannot succeed with this input or configuration, so it is not retried.

    Args:
        problem: what is wrong, with its location: file, row, column, key or version.
        remedy: what to do about it, in the imperative.
    """

    def __init__(self, problem: str, remedy: str = "") -> None:
        super().__init__(problem, remedy)
        self.problem = problem
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.problem}. {self.remedy}".rstrip() if self.remedy else self.problem


class EmptySourceError(StageError):
    """A valid source without rows; where rows may arrive later, this is no failure."""


class TransientError(StageError):
    """An external system failed in a way that may pass (network, database), so the stage is retried."""


class OwnCodeError(StageError):
    """A team's own code raised an exception that is not one of this package."""


class DeviceError(StageError):
    """A GPU is missing or has failed."""


class BrokenVersionError(StageError):
    """A model version cannot score any row; another version may be used instead."""


class StoreError(AiWorkflowError):
    """A file of the store is missing, damaged, or cannot be written."""


class RunInterruptedError(AiWorkflowError):
    """The process received a stop signal and stopped after saving its progress."""


class RunCancelledError(RunInterruptedError):
    """A person has cancelled the run in Prefect: it does not resume."""

    def __init__(self) -> None:
        super().__init__("cancelled in Prefect. Progress was saved; the same command resumes from it")
