"""Centre of a regression target: LightGBM keeps targets as float32, and predictions as float64."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ai_workflow.telemetry.logs import logger

if TYPE_CHECKING:
    from ai_workflow.features.spec import FeatureSpec

# Metrics that depend on differences between target and prediction only.
_DIFFERENCES = (
    {"l1", "l2", "rmse", "huber", "fair", "quantile", "mae", "mse", "mean_absolute_error", "mean_squared_error"}
    | {"l2_root", "root_mean_squared_error", "regression", "regression_l1", "regression_l2"}
)  # fmt: skip
# Averages its trees instead of adding them up.
_AVERAGED = "\naverage_output\n"
log = logger("trainer")


def center(spec: FeatureSpec, params: dict[str, Any]) -> float:
    """Return the number to subtract from the targets, 0 if the spec has none or a parameter depends on the level."""
    number = spec.get("target_center", 0.0)
    if number and (reason := _dependent(params)):
        log.warning(
            "target %r: distinct values are not distinct in float32, in which LightGBM computes, and "
            "trainer.params.%s does not allow a centre. Remove it, or subtract a constant in the source",
            spec["target"], reason,
        )  # fmt: skip
        return 0.0
    return number


def _dependent(params: dict[str, Any]) -> str | None:
    """Return a parameter whose effect depends on the level of the target."""
    for name in ("reg_sqrt", "linear_tree"):
        if str(params.get(name, False)).lower() in ("true", "+", "1", "yes"):
            return name
    metrics = params.get("metric") or []
    names = metrics.split(",") if isinstance(metrics, str) else metrics
    return None if all(str(name).strip() in _DIFFERENCES for name in names) else "metric"


def add(model: str, number: float) -> str:
    """Return a model whose predictions are higher by a number: each leaf of its first tree is, or of all averaged."""
    import lightgbm

    booster = lightgbm.Booster(model_str=model)
    for tree in range(booster.num_trees() if _AVERAGED in model else 1):
        for leaf in range(_leaves(booster, tree)):
            booster.set_leaf_output(tree, leaf, booster.get_leaf_output(tree, leaf) + number)
    return booster.model_to_string(num_iteration=-1)


def _leaves(booster: Any, tree: int) -> int:
    return int(booster.dump_model(start_iteration=tree, num_iteration=1)["tree_info"][0]["num_leaves"])
