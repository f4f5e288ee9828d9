"""The loop of a training: step by step, judged, saved on the way, resumed from where it was saved."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from ai_workflow.config import settings
from ai_workflow.errors import StageError
from ai_workflow.runtime import cancellation, memory_pressure, progress
from ai_workflow.telemetry.logs import logger
from ai_workflow.training.checkpoints import Checkpoints
from ai_workflow.training.protocol import Trainer

# A run says about this often how far it is.
_LINES = 10
_REMEDY = f"{memory_pressure.MORE_MEMORY}, or train a smaller model: trainer.params"
T = TypeVar("T")
log = logger("trainer")


@dataclass
class Progress:
    """Where a training stands: the step, the loss after each judged step, the best of them, and whether it is over."""

    step: int = 0
    best_step: int = 0
    best_loss: float = math.inf
    losses: list[tuple[int, float]] = field(default_factory=list)
    over: bool = False
    # Rows per step; None where each step learns from all.
    batch_size: int | None = None

    def judge(self, loss: float) -> None:
        """Note the loss after the present step."""
        self.losses.append((self.step, loss))
        if loss < self.best_loss:
            self.best_loss, self.best_step = loss, self.step

    def figures(self) -> dict[str, Any]:
        """Return it as JSON types, to stand readable beside a checkpoint."""
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
    def of(cls, figures: dict[str, Any]) -> Progress:
        """Return what `figures` was made from."""
        best = figures["best_loss"]
        losses = [(step, loss) for step, loss in figures["losses"]]
        return cls(
            figures["step"],
            figures["best_step"],
            math.inf if best is None else best,
            losses,
            figures["over"],
            figures["batch_size"],
        )


class Training:
    """One training under way: a started trainer, and the checkpoints it goes on from and saves to."""

    def __init__(
        self, trainer: Trainer, options: settings.Trainer, checkpoints: Checkpoints, often: settings.Checkpoint
    ) -> None:
        self._trainer, self._options, self._checkpoints, self._often = trainer, options, checkpoints, often
        self._every = max(1, options.steps // _LINES)
        self._saved_step, self._saved_at, self._saving = 0, time.monotonic(), 0.0
        self._memory_remedy = getattr(trainer, "memory_remedy", _REMEDY)
        # The step of the checkpoint that `run` went on from.
        self.resumed_from: int | None = None

    def run(self) -> Progress:
        """Make the steps that are left, and return where the training ended.

        Raises:
            StageError: the loss is not finite, or memory runs out with as few rows per step as may be.
            RunInterruptedError: a stop was asked for; what is learned is saved.
        """
        state = self._resumed()
        began = time.monotonic()
        while state.step < self._options.steps and not state.over:
            self._step(state)
            self._save(state)
        if not state.losses or state.losses[-1][0] != state.step:
            state.judge(_finite(self._fitting(self._trainer.loss, state), state.step))
        if self._saving:
            share = self._saving / max(time.monotonic() - began, 1e-9)
            log.info("checkpoints took %.2f s, %.1f %% of the training", self._saving, 100 * share)
        return state

    def _resumed(self) -> Progress:
        found = self._checkpoints.newest()
        if found is None:
            log.info("No checkpoint found, starting from scratch")
            return Progress(batch_size=self._trainer.batch_size)
        log.info("Resuming from checkpoint: %s", found.name)
        try:
            self._trainer.load(found.state)
        except MemoryError as error:
            raise memory_pressure.to_memory_error(error, f" at step {found.step}", self._memory_remedy) from error
        log.info("Restarting from step %d", found.step)
        self._saved_step = self.resumed_from = found.step
        state = Progress.of(found.figures)
        self._trainer.batch_size = state.batch_size
        return state

    def _step(self, state: Progress) -> None:
        options = self._options
        # A first step that finds nothing still gives a model, the baseline; a later one adds nothing.
        if not self._fitting(self._trainer.step, state, saved=True) and state.step:
            log.info("stopped at step %d: no split gains anything any more", state.step)
            state.over = True
            return
        state.step += 1
        if options.early_stopping or state.step % self._every == 0:
            state.judge(_finite(self._fitting(self._trainer.loss, state), state.step))
        if state.step % self._every == 0:
            loss = state.losses[-1][1]
            log.info("step %d/%d loss %.4f", state.step, options.steps, loss, extra={"progress": True})
        progress.report(state.step, options.steps, f"loss {state.losses[-1][1]:.4f}" if state.losses else "steps")
        if options.early_stopping and state.step - state.best_step >= options.early_stopping:
            log.info("stopped at step %d: no gain on the validation rows since step %d", state.step, state.best_step)
            state.over = True

    def _fitting(self, work: Callable[[], T], state: Progress, *, saved: bool = False) -> T:
        """Return `work()`, with fewer rows per step where memory runs out; `saved`: how many is saved at once.

        A run that resumes from before it might find memory enough, and end with another model.
        """
        while True:
            try:
                return work()
            except MemoryError as error:
                if state.batch_size is None:
                    raise memory_pressure.to_memory_error(
                        error, f" at step {state.step}", self._memory_remedy
                    ) from error
                state.batch_size = self._trainer.batch_size = self._fewer(state, error)
            memory_pressure.release()
            if saved and state.step:
                self._write(state)

    def _fewer(self, state: Progress, error: MemoryError) -> int:
        """Return fewer rows per step, or raise MemoryExhaustedError with what helps for this family."""
        rows, where = state.batch_size or 0, f"at step {state.step}"
        try:
            return memory_pressure.halve(rows, memory_pressure.MIN_BATCH_ROWS, error, self._memory_remedy, where)
        except memory_pressure.OutOfMemoryError as last:
            raise memory_pressure.MemoryExhaustedError(last.problem, last.remedy) from error

    def _save(self, state: Progress) -> None:
        due = state.step - self._saved_step >= self._often.every_steps
        due = due or time.monotonic() - self._saved_at >= self._often.every_seconds
        if (due or cancellation.is_requested()) and state.step > self._saved_step:
            self._write(state)
        cancellation.check(f"the training is saved as model_step_{self._saved_step}")

    def _write(self, state: Progress) -> None:
        self._saving += self._checkpoints.save(state.step, self._trainer.save(), state.figures())
        self._saved_step, self._saved_at = state.step, time.monotonic()


def _finite(loss: float, step: int) -> float:
    if not math.isfinite(loss):
        raise StageError(
            f"the loss is {loss} at step {step}: the training has diverged", "Lower the learning rate in trainer.params"
        )
    return loss
