"""Verifies a published version: its files by their sha256, its model by the answers to its golden rows."""

from __future__ import annotations

from ai_workflow.errors import AiWorkflowError
from ai_workflow.inference.model_process import ModelProcess
from ai_workflow.registry import golden_rows
from ai_workflow.registry.registry import Registry, Version


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
    except (AiWorkflowError, MemoryError, KeyError, TypeError, ValueError) as error:
        return [f"{version.name} cannot be asked: {error}"]


def _wrong_answers(registry: Registry, version: Version, timeout: float) -> list[str]:
    known = golden_rows.read(registry, version)
    if not len(known.x):
        return []
    model = registry.read(version, version.manifest["model_file"])
    with ModelProcess(version.name, version.manifest["kind"], model, timeout) as process:
        answers = process.predict(known.x)
    return [f"{version.name} answers golden row {row} in another way" for row in known.wrong(answers)]
