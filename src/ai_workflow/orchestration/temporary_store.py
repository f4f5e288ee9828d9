"""Check of the store: Prefect must not delete its folder with the run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from prefect.client.orchestration import get_client
from prefect.context import FlowRunContext
from prefect.exceptions import ObjectNotFound

from ai_workflow.config.settings import Settings
from ai_workflow.errors import AiWorkflowError
from ai_workflow.storage import temporary_folders

REMEDY = (
    "Set AIW_STORE or store.root to an absolute folder such as /var/lib/ai-workflow, or to a URL such as "
    "s3://bucket/prefix, in the environment of the workers"
)


class TemporaryStoreError(AiWorkflowError):
    """The store would be deleted after the run."""


async def check(settings: Settings) -> None:
    """Reject a store that Prefect would delete with the current run.

    Raises:
        TemporaryStoreError: Prefect deletes its folder, or it is relative to code that the worker has pulled.
    """
    root = settings.store.root
    local = _local(root)
    if local is None:
        return
    folder = local.resolve()
    if temporary_folders.is_below(folder) or (is_relative(root) and await _runs_in_temporary_folder()):
        raise TemporaryStoreError(
            f"store.root is '{root}', in {folder}, which Prefect deletes after this run: models, checkpoints and "
            f"history would be lost. {REMEDY}"
        )


def is_relative(root: str) -> bool:
    """Return whether the root of a store depends on the current folder."""
    local = _local(root)
    return local is not None and not local.is_absolute()


def _local(root: str) -> Path | None:
    """Return the folder of a store, or None for an object store."""
    path = root.removeprefix("file://").removeprefix("local://")
    return None if "://" in path else Path(path)


def is_temporary(steps: Sequence[Mapping[str, Any]]) -> bool:
    """Return whether a run with these pull steps runs in a folder that its worker deletes afterwards."""
    temporary = True
    for step in steps:
        for name, inputs in step.items():
            kind = name.rpartition(".")[2]
            if kind == "set_working_directory":
                is_absolute = Path(str((inputs or {}).get("directory", ""))).is_absolute()
                temporary = temporary and not is_absolute
            elif kind.startswith(("git_clone", "pull_")):
                temporary = True
    return temporary


async def _runs_in_temporary_folder() -> bool:
    """Return whether the current run is of a deployment whose work pool runs it in a temporary folder."""
    context = FlowRunContext.get()
    run = context.flow_run if context else None
    if run is None or run.deployment_id is None:
        return False
    async with get_client() as client:
        try:
            deployment = await client.read_deployment(run.deployment_id)
        except ObjectNotFound:
            return False
    return deployment.work_pool_name is not None and is_temporary(deployment.pull_steps or ())
