"""What is wrong with `trainer.params`, for each model family; no library of a family is loaded."""

from __future__ import annotations

from typing import Any

from ai_workflow.config.settings import lightgbm_params, mlp_params

_FAMILIES = {"lightgbm": lightgbm_params.problems, "torch_mlp": mlp_params.problems}


def problems(kind: str, params: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the name of each parameter that a family does not take, and why; an unknown family has none."""
    return _FAMILIES[kind](params) if kind in _FAMILIES else []
