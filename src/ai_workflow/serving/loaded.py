"""A version's files in memory: verified, leased, and what is needed to ask it."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from ai_workflow import fingerprint, golden
from ai_workflow.golden import Golden
from ai_workflow.registry import Registry
from ai_workflow.serving.encoder import Encoder
from ai_workflow.serving.model_file import sealed

if TYPE_CHECKING:
    import numpy as np

# Rounding may carry a probability that far out of its range.
_ROUNDING = 1e-5


@dataclass(eq=False)
class Loaded:
    """One version; `close` gives its memory and its lease back.

    Args:
        name: model_v<major>.<minor>.
        kind: its model family.
        model: an open file with the model's bytes.
        encoder: turns rows into what the model takes.
        classes: what it tells apart; None for a regression.
        golden: rows whose answers are known.
    """

    name: str
    kind: str
    model: int
    encoder: Encoder
    classes: list[str] | None
    golden: Golden
    _held: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    @property
    def features(self) -> int:
        """How many numbers a row has."""
        return self.encoder.width

    @property
    def outputs(self) -> int:
        """How many numbers answer a row."""
        return len(self.classes) if self.classes else 1

    @property
    def schema(self) -> str:
        """The same for versions that take the same numbers."""
        return self.encoder.fingerprint

    def makes_sense(self, answers: Sequence[float]) -> bool:
        """Say whether numbers can be answers: finite, and probabilities where there are classes."""
        if not math.isfinite(sum(answers)):
            return False
        return self.classes is None or (min(answers) >= -_ROUNDING and max(answers) <= 1 + _ROUNDING)

    @property
    def trial(self) -> np.ndarray:
        """Rows that show whether it answers, float32 (rows, features): the golden ones, else one without a value."""
        import numpy as np

        return self.golden.x if len(self.golden.x) else np.full((1, self.features), np.nan, dtype=np.float32)

    def differs(self, answers: Sequence[float], row: int | None = None) -> str | None:
        """Return how answers to the trial are not the known ones, or None if they are, or none are known.

        Args:
            answers: to the rows of the trial, or to one of them.
            row: the number of that row.
        """
        known, first = self.golden, row or 0
        if not len(known.x):
            return None
        if row is not None:
            known = replace(known, x=known.x[row : row + 1], answers=known.answers[row : row + 1])
        wrong = known.wrong(answers)
        return f"another answer to golden row {first + wrong[0]}" if wrong else None

    def close(self) -> None:
        """Give back the memory and the lease."""
        self._held.close()


def load(registry: Registry, name: str) -> Loaded:
    """Read a version, by its name or an alias, and hold a lease on it; takes milliseconds, or as long as the store.

    Raises:
        AiWorkflowError: there is no such version, or one of its files is missing or damaged.
        KeyError, TypeError, ValueError: they are not what a publisher writes.
    """
    with contextlib.ExitStack() as held:
        version = held.enter_context(registry.leased(name, "service"))
        known = golden.read(registry, version)
        spec = known.spec
        model = sealed(version.name, registry.read(version, version.manifest["model_file"]))
        held.callback(os.close, model)
        return Loaded(
            name=version.name,
            kind=version.manifest["kind"],
            model=model,
            encoder=Encoder(spec, fingerprint.of(spec["features"], spec["schema"], spec["classes"])),
            classes=spec["classes"],
            golden=known,
            _held=held.pop_all(),
        )
