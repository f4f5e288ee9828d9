"""Model families by name. The module of the family in use is part of a cache key; this table is not."""

from __future__ import annotations

IN_CACHE_KEY = False
FAMILIES = {
    "lightgbm": "ai_workflow.training.families.lightgbm",
    "torch_mlp": "ai_workflow.training.families.torch_mlp",
}
# Each step uses all rows, so the batch size has no effect.
WITHOUT_BATCHES = {"lightgbm"}


def modules_of(*kinds: str) -> tuple[str, ...]:
    """Return the modules of model families, sorted; an unknown kind has none."""
    return tuple(sorted({FAMILIES[kind] for kind in kinds if kind in FAMILIES}))


def rows_per_step(kind: str, batch_size: int) -> int | None:
    """Return the batch size, or None for a family that uses all rows in each step."""
    return None if kind in WITHOUT_BATCHES else batch_size
