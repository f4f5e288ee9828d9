"""Check of `trainer.params` by model family, without loading the library of a family."""

from __future__ import annotations

from typing import Any

from ai_workflow.config.settings import lightgbm_params, mlp_params

_FAMILIES = {"lightgbm": lightgbm_params.problems, "torch_mlp": mlp_params.problems}


def problems(kind: str, params: dict[str, Any], loss: object = None) -> list[tuple[str, str]]:
    """Return the name of each invalid parameter of a family, and the reason; empty for an unknown family.

    Args:
        kind: the family.
        params: its parameters.
        loss: `trainer.loss` as written, valid or not.
    """
    found = _FAMILIES[kind](params) if kind in _FAMILIES else []
    loss_kind = loss.get("kind") if isinstance(loss, dict) else loss
    if kind == "lightgbm" and loss_kind in ("huber", "quantile") and (alias := lightgbm_params.set_by_loss(params)):
        found.append((alias, "is set by trainer.loss; remove it, and set trainer.loss"))
    return found
