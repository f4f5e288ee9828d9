"""Verification of a published version: its files by sha256, its model by the golden rows."""

from __future__ import annotations

from ai_workflow.errors import AiWorkflowError
from ai_workflow.features import calibration
from ai_workflow.inference.model_process import ModelProcess
from ai_workflow.registry import golden_rows
from ai_workflow.registry.registry import Registry, Version


def problems(registry: Registry, version: Version, timeout: float) -> list[str]:
    """Return the problems of a version; empty if it is as published.

    Args:
        registry: the registry.
        version: the version.
        timeout: seconds that loading its model, and each prediction, may take.
    """
    if damaged := registry.damaged(version):
        return [f"{url} is missing or damaged" for url in damaged]
    try:
        return _mismatches(registry, version, timeout)
    except (AiWorkflowError, MemoryError, KeyError, TypeError, ValueError) as error:
        return [f"{version.name} cannot predict: {error}"]


def _mismatches(registry: Registry, version: Version, timeout: float) -> list[str]:
    golden = golden_rows.read(registry, version)
    if not len(golden.x):
        return []
    model = registry.read(version, version.manifest["model_file"])
    calibrator = calibration.of(golden.spec)
    with ModelProcess(version.name, version.manifest["kind"], model, timeout, calibrator) as process:
        predictions = process.predict(golden.x)
    return [f"{version.name} predicts golden row {row} differently" for row in golden.mismatches(predictions)]
