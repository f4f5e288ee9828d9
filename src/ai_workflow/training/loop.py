"""Training loop: steps, loss, early stopping, checkpoints and resume."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from ai_workflow.config import settings
from ai_workflow.errors import StageError
from ai_workflow.runtime import cancellation, memory_pressure, progress
from ai_workflow.telemetry.logs import logger
from ai_workflow.training.checkpoints import Checkpoints, ProgressRecord
from ai_workflow.training.protocol import Trainer

# A training logs about this number of progress lines.
_PROGRESS_LINES = 10
_REMEDY = f"{memory_pressure.MORE_MEMORY}, or train a smaller model: trainer.params"
T = TypeVar("T")
log = logger("trainer")


@dataclass
class Progress:
    """Progress of a training: the step, the losses as pairs of step and loss, the best one, and whether it ended."""

    step: int = 0
    best_step: int = 0
    best_loss: float = math.inf
    losses: list[tuple[int, float]] = field(default_factory=list)
    over: bool = False
    # Rows per step; None if each step uses all rows.
    batch_size: int | None = None

    def record(self, loss: float) -> None:
        """Record the loss after the current step."""
        self.losses.append((self.step, loss))
        if loss < self.best_loss:
            self.best_loss, self.best_step = loss, self.step

    def to_json(self) -> ProgressRecord:
        """Return the progress as JSON types."""
        best = self.best_loss if math.isfinite(self.best_loss) else None
        return {
            "step": self.step,
            "best_step": self.best_step,
            "best_loss": best,
            "losses": self.losses,
            "over": self.over,
            "batch_size": self.batch_size,
        }

    @classmethod
    def from_json(cls, body: ProgressRecord) -> Progress:
        """Return the progress of a checkpoint's record."""
        best = body["best_loss"]
        losses = [(step, loss) for step, loss in body["losses"]]
        return cls(
            body["step"],
            body["best_step"],
            math.inf if best is None else best,
            losses,
            body["over"],
            body["batch_size"],
        )


class Training:
    """One training: a started trainer, and the checkpoints that it resumes from and saves to."""

    def __init__(
        self, trainer: Trainer, options: settings.Trainer, checkpoints: Checkpoints, schedule: settings.Checkpoint
    ) -> None:
        self._trainer = trainer
        self._options = options
        self._checkpoints = checkpoints
        self._schedule = schedule
        self._log_every = max(1, options.steps // _PROGRESS_LINES)
        self._saved_step = 0
        self._saved_at = time.monotonic()
        self._saving_seconds = 0.0
        self._memory_remedy = getattr(trainer, "memory_remedy", _REMEDY)
        # Step of the checkpoint that `run` resumed.
        self.resumed_from: int | None = None

    def run(self) -> Progress:
        """Run the remaining steps, and return the progress at the end.

        Raises:
            StageError: the loss is not finite, or memory runs out at the smallest batch size.
            RunInterruptedError: a stop was requested; the progress is saved.
        """
        state = self._resume()
        start = time.monotonic()
        while state.step < self._options.steps and not state.over:
            self._step(state)
            self._save(state)
        if not state.losses or state.losses[-1][0] != state.step:
            state.record(_finite(self._with_smaller_batches(self._trainer.loss, state), state.step))
        if self._saving_seconds:
            share = self._saving_seconds / max(time.monotonic() - start, 1e-9)
            log.info("checkpoints took %.2f s, %.1f %% of the training", self._saving_seconds, 100 * share)
        return state

    def _resume(self) -> Progress:
        checkpoint = self._checkpoints.newest()
        if checkpoint is None:
            log.info("No checkpoint found, starting from scratch")
            return Progress(batch_size=self._trainer.batch_size)
        log.info("Resuming from checkpoint: %s", checkpoint.name)
        try:
            self._trainer.load(checkpoint.state)
        except MemoryError as error:
            raise memory_pressure.to_memory_error(error, f" at step {checkpoint.step}", self._memory_remedy) from error
        log.info("Restarting from step %d", checkpoint.step)
        self._saved_step = self.resumed_from = checkpoint.step
        state = Progress.from_json(checkpoint.figures)
        self._trainer.batch_size = state.batch_size
        return state

    def _step(self, state: Progress) -> None:
        options = self._options
        # A first step without a gain still gives a model, the baseline; a later one would add nothing.
        if not self._with_smaller_batches(self._trainer.step, state, save=True) and state.step:
            log.info("stopped at step %d: no split gains anything any more", state.step)
            state.over = True
            return
        state.step += 1
        if options.early_stopping or state.step % self._log_every == 0:
            state.record(_finite(self._with_smaller_batches(self._trainer.loss, state), state.step))
        if state.step % self._log_every == 0:
            loss = state.losses[-1][1]
            log.info("step %d/%d loss %.4f", state.step, options.steps, loss, extra={"progress": True})
        progress.report(state.step, options.steps, f"loss {state.losses[-1][1]:.4f}" if state.losses else "steps")
        if options.early_stopping and state.step - state.best_step >= options.early_stopping:
            log.info("stopped at step %d: no gain on the validation rows since step %d", state.step, state.best_step)
            state.over = True

    def _with_smaller_batches(self, work: Callable[[], T], state: Progress, *, save: bool = False) -> T:
        """Return `work()`, retried with half the batch size on MemoryError; `save` saves the new size at once.

        Otherwise a resumed run might have enough memory, and end with another model.
        """
        while True:
            try:
                return work()
            except MemoryError as error:
                if state.batch_size is None:
                    raise memory_pressure.to_memory_error(
                        error, f" at step {state.step}", self._memory_remedy
                    ) from error
                state.batch_size = self._trainer.batch_size = self._halve(state, error)
            memory_pressure.release()
            if save and state.step:
                self._write(state)

    def _halve(self, state: Progress, error: MemoryError) -> int:
        """Return half the batch size, or raise MemoryExhaustedError with the remedy of this family."""
        rows, where = state.batch_size or 0, f"at step {state.step}"
        try:
            return memory_pressure.halve(rows, memory_pressure.MIN_BATCH_ROWS, error, self._memory_remedy, where)
        except memory_pressure.OutOfMemoryError as last:
            raise memory_pressure.MemoryExhaustedError(last.problem, last.remedy) from error

    def _save(self, state: Progress) -> None:
        due = state.step - self._saved_step >= self._schedule.every_steps
        due = due or time.monotonic() - self._saved_at >= self._schedule.every_seconds
        if (due or cancellation.is_requested()) and state.step > self._saved_step:
            self._write(state)
        cancellation.check(f"the training is saved as model_step_{self._saved_step}")

    def _write(self, state: Progress) -> None:
        self._saving_seconds += self._checkpoints.save(state.step, self._trainer.save(), state.to_json())
        self._saved_step, self._saved_at = state.step, time.monotonic()


def _finite(loss: float, step: int) -> float:
    if not math.isfinite(loss):
        raise StageError(
            f"the loss is {loss} at step {step}: the training has diverged", "Lower the learning rate in trainer.params"
        )
    return loss
