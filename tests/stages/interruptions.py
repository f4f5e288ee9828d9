"""Trainings of folds and trials that end as if their process was stopped."""

from __future__ import annotations

from typing import Any

import pytest

from ai_workflow.stages import fold_model
from ai_workflow.training.loop import Training


def at_training(number: int, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Interrupt the training of this number, and return a list that gets an entry for each training that begins."""
    begun: list[int] = []
    original = Training.run

    def run(training: Training) -> Any:
        begun.append(1)
        if len(begun) == number:
            raise KeyboardInterrupt
        return original(training)

    monkeypatch.setattr(fold_model.Training, "run", run)
    return begun
