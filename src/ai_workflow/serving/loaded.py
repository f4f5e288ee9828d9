"""A version's files in memory: verified, leased, and what is needed to ask it."""

from __future__ import annotations

import contextlib
import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ai_workflow import features, fingerprint
from ai_workflow.errors import AiWorkflowError, StoreError
from ai_workflow.registry import Registry
from ai_workflow.serving.encoder import Encoder
from ai_workflow.serving.model_file import sealed

# Another processor may round the last digits another way.
_TOLERANCE = 1e-5


@dataclass(eq=False)
class Loaded:
    """One version; `close` gives its memory and its lease back.

    Args:
        name: model_v<major>.<minor>.
        kind: its model family.
        model: an open file with the model's bytes.
        encoder: turns rows into what the model takes.
        classes: what it tells apart; None for a regression.
        manifest: what its publisher said of it.
        golden: float32 (rows, features), rows whose answers are known.
        golden_answers: those answers, row by row.
    """

    name: str
    kind: str
    model: int
    encoder: Encoder
    classes: list[str] | None
    manifest: dict[str, Any]
    golden: bytes
    golden_rows: int
    golden_answers: list[float]
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
        return self.classes is None or (min(answers) >= -_TOLERANCE and max(answers) <= 1 + _TOLERANCE)

    def differs(self, answers: Sequence[float]) -> str | None:
        """Return how answers to the golden rows are not the known ones, or None if they are."""
        if len(answers) != self.golden_rows * self.outputs:
            return f"{len(answers)} numbers answer {self.golden_rows} rows"
        # Where no golden row was kept, one without any value is asked, and any answer will do.
        for place, (found, known) in enumerate(zip(answers, self.golden_answers, strict=False)):
            if not math.isclose(found, known, rel_tol=_TOLERANCE, abs_tol=_TOLERANCE):
                return f"{found:g} in place of {known:g} for golden row {place // self.outputs}"
        return None

    def close(self) -> None:
        """Give back the memory and the lease."""
        self._held.close()


def load(registry: Registry, name: str) -> Loaded:
    """Read a version, by its name or an alias, and hold a lease on it; takes milliseconds, or as long as the store.

    Raises:
        AiWorkflowError: there is no such version, or one of its files is missing or damaged.
    """
    import numpy as np
    import pandas as pd

    with contextlib.ExitStack() as held:
        version = held.enter_context(registry.leased(name, "service"))
        spec = _json(registry, version, "features.json")
        golden = _json(registry, version, "golden.json")
        model = sealed(version.name, registry.read(version, version.manifest["model_file"]))
        held.callback(os.close, model)
        encoder = Encoder(spec, fingerprint.of(spec["features"], spec["schema"], spec["classes"]))
        if golden["rows"]:
            x = features.transform(features.as_known(pd.DataFrame(golden["rows"]), spec), spec)
        else:
            x = np.full((1, encoder.width), np.nan, dtype=np.float32)
        return Loaded(
            name=version.name,
            kind=version.manifest["kind"],
            model=model,
            encoder=encoder,
            classes=spec["classes"],
            manifest=version.manifest,
            golden=x.astype("<f4").tobytes(),
            golden_rows=len(x),
            golden_answers=np.asarray(golden["answers"], dtype=float).reshape(-1).tolist(),
            _held=held.pop_all(),
        )


def _json(registry: Registry, version: Any, name: str) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(registry.read(version, name))
    except ValueError as error:
        raise StoreError(f"{version.name}/{name} is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise AiWorkflowError(f"{version.name}/{name} is not what a publisher writes")
    return found
