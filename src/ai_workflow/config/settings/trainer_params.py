"""Check of `trainer.params` by model family, without loading the library of a family."""

from __future__ import annotations

from typing import Any

from ai_workflow.config.settings import lightgbm_params, mlp_params

_FAMILIES = {"lightgbm": lightgbm_params.problems, "torch_mlp": mlp_params.problems}


def problems(kind: str, params: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the name of each invalid parameter of a family, and the reason; empty for an unknown family."""
    return _FAMILIES[kind](params) if kind in _FAMILIES else []
