"""A version's files in memory: verified, leased, and what is needed to ask it."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from ai_workflow.datasets import fingerprint
from ai_workflow.features import cell_reader
from ai_workflow.features.row_encoder import Encoder
from ai_workflow.inference.model_file import sealed
from ai_workflow.inference.worker import FEW_VALUES
from ai_workflow.registry import golden_rows
from ai_workflow.registry.golden_rows import Golden
from ai_workflow.registry.registry import Registry

if TYPE_CHECKING:
    import numpy as np

    from ai_workflow.features.spec import FeatureSpec

# As many as the answers to one batch may be: they are checked on the event loop.
MAX_VALUES = 2_000_000
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
        """Return whether numbers can be answers: finite, and probabilities where there are classes."""
        if len(answers) > FEW_VALUES:
            low, high = _range(answers)
            is_finite = math.isfinite(low) and math.isfinite(high)
        else:
            is_finite = math.isfinite(sum(answers))
            low, high = (min(answers), max(answers)) if self.classes is not None else (0.0, 0.0)
        return is_finite and (self.classes is None or (low >= -_ROUNDING and high <= 1 + _ROUNDING))

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


def _range(numbers: Sequence[float]) -> tuple[float, float]:
    """Return the smallest and the largest of many numbers; NaN where one is NaN."""
    import numpy as np

    values = np.asarray(numbers, dtype=np.float64)
    return float(values.min()), float(values.max())


def load(registry: Registry, name: str) -> Loaded:
    """Read a version, by its name or an alias, and hold a lease on it; takes milliseconds, or as long as the store.

    Raises:
        AiWorkflowError: there is no such version, or one of its files is missing or damaged.
        KeyError, TypeError, ValueError: they are not what a publisher writes.
    """
    with contextlib.ExitStack() as held:
        version = held.enter_context(registry.leased(name, "service"))
        known = golden_rows.read(registry, version)
        spec = known.spec
        model = sealed(version.name, registry.read(version, version.manifest["model_file"]))
        held.callback(os.close, model)
        return Loaded(
            name=version.name,
            kind=version.manifest["kind"],
            model=model,
            encoder=Encoder(spec, _encoding(spec)),
            classes=spec["classes"],
            golden=known,
            _held=held.pop_all(),
        )


def _encoding(spec: FeatureSpec) -> str:
    """Return a fingerprint that is the same for versions that make the same numbers of the same rows."""
    return fingerprint.of(
        spec["features"], spec["schema"], spec["classes"], spec.get("cells") or {}, cell_reader.known(spec)
    )
