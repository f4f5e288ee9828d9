"""Check that deployments do not keep the store in a folder that Prefect deletes with the code."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ai_workflow.config.settings import Settings
from ai_workflow.errors import AiWorkflowError
from ai_workflow.orchestration.temporary_store import REMEDY, is_relative, is_temporary


class DurableStoreError(AiWorkflowError):
    """The store would be deleted after each run."""


def check(settings: Settings, pulls: Iterable[tuple[str, Sequence[Mapping[str, Any]]]]) -> None:
    """Raise if deployments that run in a temporary folder have a relative store.

    Args:
        settings: the settings of the deployments.
        pulls: the name of each deployment, and its pull steps.

    Raises:
        DurableStoreError: `store.root` is relative, and a worker pulls the code to a folder that it deletes.
    """
    root = settings.store.root
    names = [name for name, steps in pulls if is_temporary(steps)]
    if names and is_relative(root):
        raise DurableStoreError(
            f"store.root is '{root}', relative to a clone that the worker deletes after each run of "
            f"{', '.join(names)}: models, checkpoints and history would be lost. Nothing was deployed. "
            f"{REMEDY}, and here"
        )
