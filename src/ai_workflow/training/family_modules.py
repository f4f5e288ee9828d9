"""Model families by name. The module of the family in use is part of a cache key; this table is not."""

from __future__ import annotations

from ai_workflow.plugins import names, own_versions
from ai_workflow.plugins.names import CodePath

IN_CACHE_KEY = False
FAMILIES = {
    "lightgbm": "ai_workflow.training.families.lightgbm",
    "torch_mlp": "ai_workflow.training.families.torch_mlp",
}
# Each step uses all rows, so the batch size has no effect.
WITHOUT_BATCHES = {"lightgbm"}


def modules_of(*kinds: str) -> tuple[str, ...]:
    """Return the code of model families for a cache key, sorted: their modules, or explicit versions of own code.

    A kind that is unknown, or whose module is missing, has none.
    """
    return tuple(sorted({code for kind in kinds if (code := _code(kind))}))


def own_path(kind: str) -> CodePath | None:
    """Return the path of a family of own code; None for the families of this package and unknown kinds.

    Raises:
        StageError: two packages have an entry point of this name.
    """
    return None if kind in FAMILIES else names.path("trainers", kind)


def rows_per_step(kind: str, batch_size: int) -> int | None:
    """Return the batch size, or None for a family that uses all rows in each step."""
    return None if kind in WITHOUT_BATCHES else batch_size


def _code(kind: str) -> str | None:
    path = own_path(kind)
    return own_versions.reference(path) if path else FAMILIES.get(kind)
