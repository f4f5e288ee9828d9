"""Parameters of LightGBM: names, defaults, values that fit few rows, and refusal of those without effect."""

from __future__ import annotations

from typing import Any

from ai_workflow.config.settings.lightgbm_params import FIXED, WITHOUT_EFFECT, refusal
from ai_workflow.errors import StageError
from ai_workflow.features.spec import FeatureSpec

BAGGING = ("bagging_fraction", "pos_bagging_fraction", "neg_bagging_fraction")
# Slower, shrunk and with some columns left out of each tree: a lower log loss on small tables than LightGBM's defaults.
_DEFAULTS = {"learning_rate": 0.05, "lambda_l2": 1.0, "feature_fraction": 0.8}
# With fewer training rows, LightGBM's own minimum of rows for a leaf leaves hardly a split.
_FEW_ROWS, _ROWS_PER_LEAF = 100, 20
# Those of objectives that no task has; some of them belong to a metric as well.
_OF_METRICS = frozenset(("alpha", "fair_c", "poisson_max_delta_step", "tweedie_variance_power"))
# name: the parameter it needs, the values of that parameter with which it has an effect, and the default of that.
_BOOSTING = ("boosting", ("dart",), "gbdt")
_GOSS, _QUANTIZED = ("data_sample_strategy", ("goss",), "bagging"), ("use_quantized_grad", (True,), False)
_NEEDS: dict[str, tuple[str, tuple[Any, ...], Any]] = {
    **dict.fromkeys(
        ("drop_rate", "max_drop", "skip_drop", "xgboost_dart_mode", "uniform_drop", "drop_seed"), _BOOSTING
    ),
    **dict.fromkeys(("top_rate", "other_rate"), _GOSS),
    **dict.fromkeys(("num_grad_quant_bins", "quant_train_renew_leaf", "stochastic_rounding"), _QUANTIZED),
    "linear_lambda": ("linear_tree", (True,), False),
    **dict.fromkeys(("is_unbalance", "scale_pos_weight", "sigmoid"), ("objective", ("binary",), "regression")),
    "reg_sqrt": ("objective", ("regression",), "binary"),
}
_TRUE = ("true", "+", "1", "yes")


def of(given: dict[str, Any], spec: FeatureSpec, rows: int, seed: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return all parameters of a training, and `{name: [default, used]}` of those that were fitted to few rows.

    Args:
        given: `trainer.params`.
        spec: the feature spec.
        rows: number of training rows.
        seed: `trainer.seed`.

    Raises:
        StageError: a parameter is unknown, belongs elsewhere, is given twice, or has no effect.
    """
    chosen = _named(given)
    fitted = {name: value for name, value in _for_few(rows).items() if name not in chosen}
    params = _objective(spec) | _DEFAULTS | {name: used for name, (_, used) in fitted.items()} | chosen
    _refuse_without_effect(given, params)
    _check_lengths(chosen, len(spec["features"]))
    return params | FIXED | {"seed": seed}, fitted


def _for_few(rows: int) -> dict[str, list[int]]:
    if rows >= _FEW_ROWS:
        return {}
    return {"min_data_in_leaf": [_ROWS_PER_LEAF, max(1, rows * _ROWS_PER_LEAF // _FEW_ROWS)], "min_data_in_bin": [3, 1]}


def _names() -> dict[str, str]:
    """Return alias -> the name that the installed LightGBM uses."""
    import lightgbm

    known = lightgbm.basic._ConfigAliases._get_all_param_aliases()
    return {alias: name for name, aliases in known.items() for alias in (name, *aliases)}


def _named(given: dict[str, Any]) -> dict[str, Any]:
    """Return the parameters by the names LightGBM itself uses, so that an alias wins over a default as well."""
    names = _names()
    chosen: dict[str, Any] = {}
    alias_of: dict[str, str] = {}
    for alias, value in given.items():
        if found := refusal(alias, names):
            raise StageError(f"trainer.params.{alias} {found[0]}", found[1])
        name = names[alias]
        if name in alias_of:
            raise StageError(
                f"trainer.params.{alias} and trainer.params.{alias_of[name]} are the same parameter", "Remove one"
            )
        chosen[name], alias_of[name] = value, alias
    return chosen


def _refuse_without_effect(given: dict[str, Any], params: dict[str, Any]) -> None:
    names = _names()
    for alias in given:
        name = names[alias]
        if name in WITHOUT_EFFECT or (name in _OF_METRICS and not params.get("metric")):
            raise StageError(
                f"trainer.params.{alias} has no effect in this training (objective {params['objective']})", "Remove it"
            )
        if name in BAGGING and not _is_set(params.get("bagging_freq", 0)) and not _is_forest(params):
            raise StageError(
                f"trainer.params.{alias} has no effect without bagging_freq", "Set trainer.params.bagging_freq to 1"
            )
        needed, values, default = _NEEDS.get(name, (None, (), None))
        if needed and not _is_one_of(params.get(needed, default), values) and not _also(name, params):
            shown = " or ".join(str(value).lower() for value in values)
            remedy = "Remove it" if needed == "objective" else f"Remove it, or set trainer.params.{needed}"
            raise StageError(f"trainer.params.{alias} has an effect only where {needed} is {shown}", remedy)


def _also(name: str, params: dict[str, Any]) -> bool:
    """Return whether an older spelling (`boosting: goss`) gives a parameter its effect."""
    return _NEEDS[name] is _GOSS and params.get("boosting") == "goss"


def _is_forest(params: dict[str, Any]) -> bool:
    return params.get("boosting") in ("rf", "random_forest")


def _is_one_of(value: Any, values: tuple[Any, ...]) -> bool:
    if values == (True,):
        return value is True or str(value).lower() in _TRUE
    return value in values


def _is_set(value: Any) -> bool:
    # A value of another type is LightGBM's to refuse.
    return not isinstance(value, int | float) or value > 0


def _check_lengths(chosen: dict[str, Any], features: int) -> None:
    """Raise StageError for a parameter with a value for each feature that has more or fewer values."""
    for name in ("monotone_constraints", "feature_contri", "max_bin_by_feature", "cegb_penalty_feature_lazy",
                 "cegb_penalty_feature_coupled"):  # fmt: skip
        value = chosen.get(name)
        count = (
            len(str(value).split(",")) if isinstance(value, str) else len(value) if isinstance(value, list) else None
        )
        if count is not None and count != features:
            raise StageError(
                f"trainer.params.{name} has {count} values for {features} features",
                "Give a value for each feature, in the order of features.json",
            )


def _objective(spec: FeatureSpec) -> dict[str, Any]:
    if spec["task"] == "regression":
        return {"objective": "regression"}
    classes = len(spec["classes"] or ())
    return {"objective": "binary"} if classes == 2 else {"objective": "multiclass", "num_class": classes}
