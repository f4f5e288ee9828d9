"""Verifies a published version: its files by their sha256, its model by the answers to its golden rows."""

from __future__ import annotations

import json

from ai_workflow import features
from ai_workflow.errors import AiWorkflowError
from ai_workflow.model_process import ModelProcess
from ai_workflow.registry import Registry, Version

# Another processor may round the last digits another way.
_TOLERANCE = 1e-5


def problems(registry: Registry, version: Version, timeout: float) -> list[str]:
    """Return what is wrong with a version; empty if it is as it was published.

    Args:
        registry: where it is.
        version: which one.
        timeout: seconds that loading its model, and each answer, may take.
    """
    if damaged := registry.damaged(version):
        return [f"{place} is missing or damaged" for place in damaged]
    try:
        return _wrong_answers(registry, version, timeout)
    except (AiWorkflowError, KeyError, TypeError, ValueError) as error:
        return [f"{version.name} cannot be asked: {error}"]


def _wrong_answers(registry: Registry, version: Version, timeout: float) -> list[str]:
    import numpy as np
    import pandas as pd

    golden, spec = (json.loads(registry.read(version, name)) for name in ("golden.json", "features.json"))
    if not golden["rows"]:
        return []
    x = features.transform(features.as_known(pd.DataFrame(golden["rows"]), spec), spec)
    model = registry.read(version, version.manifest["model_file"])
    with ModelProcess(version.name, version.manifest["kind"], model, timeout) as process:
        answers = process.predict(x)
    wrong = ~np.isclose(answers, np.array(golden["answers"]), rtol=_TOLERANCE, atol=_TOLERANCE).reshape(len(x), -1).all(
        axis=1
    )
    return [f"{version.name} answers golden row {row} in another way" for row in np.flatnonzero(wrong)]
