"""Deployments of the pipelines in `pipelines/`: a generated block of prefect.yaml, so that `prefect deploy` has them.

Each pipeline has a deployment of training, scoring, evaluation, promotion and retention, named like the pipeline. The
deployments of recovery, drill and reaction exist once, for all pipelines.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from ai_workflow.config import pipeline_folders, project_pipelines
from ai_workflow.config.pipeline_folders import PipelineFolder
from ai_workflow.config.settings import DeploymentOptions, Settings
from ai_workflow.provisioning.prefect_file import PrefectFileError

BEGIN = "  # Begin of the deployments of pipelines/, written by `ai-workflow pipeline sync`"
END = "  # End of the deployments of pipelines/"
_POOL = "ai-workflow"
_JOB = {"env": {"PREFECT_LOGGING_SETTINGS_PATH": "config/logging.yaml"}}
# Kind and queue of each flow.
_FLOWS = {
    "training": ("work", "later"),
    "scoring": ("work", "soon"),
    "evaluation": ("upkeep", "soon"),
    "promotion": ("upkeep", "first"),
    "retention": ("upkeep", "later"),
}


def entries(pipelines: Mapping[str, Settings]) -> list[dict[str, Any]]:
    """Return the deployments of the pipelines as items of prefect.yaml."""
    return [
        _entry(name, flow, getattr(settings.deployments, flow))
        for name, settings in pipelines.items()
        for flow in _FLOWS
        if getattr(settings.deployments, flow).enabled
    ]


def sync(path: Path) -> bool:
    """Write the deployments of `pipelines/` to a prefect.yaml, and return whether it changed.

    Raises:
        ConfigError: a pipeline is not valid.
        PrefectFileError: the file cannot be read or written, or has no place for them.
    """
    current = _read(path)
    if (text := _expected(path, current)) == current:
        return False
    file = path.resolve()
    new = file.with_name(f".{file.name}.new")
    try:
        # Replaced as a whole, so that a process that ends now leaves no half of it.
        new.write_text(text)
        shutil.copymode(file, new)
        new.replace(file)
    except OSError as error:
        raise PrefectFileError(f"{path} cannot be written: {error.strerror}. Correct its folder, and repeat") from error
    return True


def check(path: Path) -> list[str]:
    """Return the problem of a prefect.yaml that differs from `pipelines/`, or none.

    Raises:
        ConfigError: a pipeline is not valid.
        PrefectFileError: the file cannot be read, or has no place for the deployments.
    """
    current = _read(path)
    if BEGIN not in current and not pipeline_folders.find(path.parent):
        return []
    if _expected(path, current) == current:
        return []
    return ["the deployments of pipelines/ are not up to date. Run: ai-workflow pipeline sync"]


def _entry(name: str, flow: str, options: DeploymentOptions) -> dict[str, Any]:
    kind, queue = _FLOWS[flow]
    entry: dict[str, Any] = {
        "name": name,
        "entrypoint": f"flows/{flow}.py:{flow}",
        "tags": [_POOL, f"kind:{kind}", f"{pipeline_folders.TAG}{name}", *options.tags],
        "parameters": {"config": PipelineFolder(name).file, **options.parameters},
    }
    # A run of retention that waits for approval is suspended and holds no slot. Evaluation has nothing to do twice.
    if flow != "retention":
        strategy = "CANCEL_NEW" if flow == "evaluation" else "ENQUEUE"
        entry["concurrency_limit"] = {"limit": options.concurrency, "collision_strategy": strategy}
    if options.schedule:
        entry["schedules"] = [options.schedule]
    return {**entry, "work_pool": {"name": _POOL, "work_queue_name": queue, "job_variables": _JOB}}


def _expected(path: Path, current: str) -> str:
    """Return the text of a prefect.yaml with the generated block."""
    lines = current.removesuffix("\n").split("\n")
    places = [number for number, line in enumerate(lines) if line in (BEGIN, END)]
    if [lines[number] for number in places] != [BEGIN, END]:
        raise PrefectFileError(
            f"{path} has no place for the deployments of pipelines/. Add these two lines below `deployments:`:\n"
            f"{BEGIN}\n{END}"
        )
    pipelines = {name: loaded.settings for name, loaded in project_pipelines.load(path.parent).items()}
    block = _text(entries(pipelines))
    return "\n".join([*lines[: places[0] + 1], *block, *lines[places[1] :], ""])


def _text(items: list[dict[str, Any]]) -> list[str]:
    if not items:
        return []
    text = yaml.dump(items, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=10_000)
    return [f"  {line}" for line in text.splitlines()]


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise PrefectFileError(f"{path} cannot be read: {error}. Run this in the project's folder") from error


class _Dumper(yaml.SafeDumper):
    """Dumper without anchors."""

    def ignore_aliases(self, data: Any) -> bool:
        """Write each value in full."""
        return True
