"""Parameters of LightGBM: names, defaults, adaptation to few rows, and rejection of those without effect."""

from __future__ import annotations

from typing import Any

from ai_workflow.config import settings
from ai_workflow.config.settings.lightgbm_params import FIXED, WITHOUT_EFFECT, refusal
from ai_workflow.errors import StageError
from ai_workflow.features.spec import FeatureSpec

BAGGING = ("bagging_fraction", "pos_bagging_fraction", "neg_bagging_fraction")
# A lower learning rate, shrinkage and column sampling: a lower log loss on small tables than LightGBM's defaults.
_DEFAULTS = {"learning_rate": 0.05, "lambda_l2": 1.0, "feature_fraction": 0.8}
# With fewer training rows, LightGBM's default minimum of rows per leaf allows hardly any split.
_FEW_ROWS = 100
_DEFAULT_ROWS_PER_LEAF = 20
_DEFAULT_ROWS_PER_CATEGORY = 100
# Columns with at most `max_cat_to_onehot` categories, by default 4, have no minimum of rows per category.
_MAX_ONE_HOT_CATEGORIES = 4
# With fewer training rows, a category of any other column has on average fewer rows than LightGBM's default minimum.
_FEW_ROWS_OF_CATEGORIES = _DEFAULT_ROWS_PER_CATEGORY * (_MAX_ONE_HOT_CATEGORIES + 1)
_SHARE_PER_CATEGORY = 10
# Parameters of objectives that no task uses; some of them are also parameters of a metric.
_METRIC_PARAMS = frozenset(("alpha", "fair_c", "poisson_max_delta_step", "tweedie_variance_power"))
# name: the parameter it depends on, the values of that parameter for which it has an effect, and its default.
_BOOSTING = ("boosting", ("dart",), "gbdt")
_GOSS, _QUANTIZED = ("data_sample_strategy", ("goss",), "bagging"), ("use_quantized_grad", (True,), False)
_DEPENDENCIES: dict[str, tuple[str, tuple[Any, ...], Any]] = {
    **dict.fromkeys(
        ("drop_rate", "max_drop", "skip_drop", "xgboost_dart_mode", "uniform_drop", "drop_seed"), _BOOSTING
    ),
    **dict.fromkeys(("top_rate", "other_rate"), _GOSS),
    **dict.fromkeys(("num_grad_quant_bins", "quant_train_renew_leaf", "stochastic_rounding"), _QUANTIZED),
    "linear_lambda": ("linear_tree", (True,), False),
    **dict.fromkeys(("is_unbalance", "scale_pos_weight", "sigmoid"), ("objective", ("binary",), "regression")),
    "reg_sqrt": ("objective", ("regression",), "binary"),
}
# Objective of LightGBM by the loss of a regression.
_LOSSES = {"squared": "regression", "absolute": "regression_l1", "huber": "huber", "quantile": "quantile"}
# Keyword arguments of LightGBM by name.
Params = dict[str, Any]
_TRUE = ("true", "+", "1", "yes")


def build(options: settings.Trainer, spec: FeatureSpec, rows: int) -> tuple[Params, Params]:
    """Return all parameters of a training, and `{name: [default, used]}` of those adapted to few rows.

    Args:
        options: `trainer`.
        spec: the feature spec.
        rows: number of training rows.

    Raises:
        StageError: a parameter is unknown, is set elsewhere, has two names, or has no effect.
    """
    chosen = _canonical_params(options.params)
    adapted = {name: value for name, value in _adapted_to_rows(rows, spec).items() if name not in chosen}
    params = _objective(spec, options.loss) | _DEFAULTS | {name: used for name, (_, used) in adapted.items()} | chosen
    _reject_without_effect(options.params, params)
    _check_lengths(chosen, len(spec["features"]))
    return params | FIXED | {"seed": options.seed}, adapted


def _adapted_to_rows(rows: int, spec: FeatureSpec) -> dict[str, list[int]]:
    adapted = {}
    rows_per_leaf = min(_DEFAULT_ROWS_PER_LEAF, max(1, rows * _DEFAULT_ROWS_PER_LEAF // _FEW_ROWS))
    if rows < _FEW_ROWS:
        adapted = {"min_data_in_leaf": [_DEFAULT_ROWS_PER_LEAF, rows_per_leaf], "min_data_in_bin": [3, 1]}
    many_categories = any(len(feature.get("vocabulary", ())) > _MAX_ONE_HOT_CATEGORIES for feature in spec["features"])
    if rows < _FEW_ROWS_OF_CATEGORIES and many_categories:
        rows_per_category = max(rows_per_leaf, rows // _SHARE_PER_CATEGORY)
        adapted["min_data_per_group"] = [_DEFAULT_ROWS_PER_CATEGORY, rows_per_category]
    return adapted


def _canonical_names() -> dict[str, str]:
    """Return alias -> canonical name of the installed LightGBM."""
    import lightgbm

    aliases_of = lightgbm.basic._ConfigAliases._get_all_param_aliases()
    return {alias: name for name, aliases in aliases_of.items() for alias in (name, *aliases)}


def _canonical_params(user_params: Params) -> Params:
    """Return the parameters by canonical name, so that an alias overrides a default."""
    names = _canonical_names()
    chosen: Params = {}
    alias_of: dict[str, str] = {}
    for alias, value in user_params.items():
        if rejection := refusal(alias, names):
            raise StageError(f"trainer.params.{alias} {rejection[0]}", rejection[1])
        name = names[alias]
        if name in alias_of:
            raise StageError(
                f"trainer.params.{alias} and trainer.params.{alias_of[name]} are the same parameter", "Remove one"
            )
        chosen[name], alias_of[name] = value, alias
    return chosen


def _reject_without_effect(user_params: Params, params: Params) -> None:
    names = _canonical_names()
    for alias in user_params:
        name = names[alias]
        if name == "alpha" and params["objective"] in ("huber", "quantile"):
            raise StageError(f"trainer.params.{alias} is set by trainer.loss", "Remove it, and set trainer.loss")
        if name in WITHOUT_EFFECT or (name in _METRIC_PARAMS and not params.get("metric")):
            raise StageError(
                f"trainer.params.{alias} has no effect in this training (objective {params['objective']})", "Remove it"
            )
        if name in BAGGING and not _is_set(params.get("bagging_freq", 0)) and not _is_forest(params):
            raise StageError(
                f"trainer.params.{alias} has no effect without bagging_freq", "Set trainer.params.bagging_freq to 1"
            )
        needed, values, default = _DEPENDENCIES.get(name, (None, (), None))
        if needed and not _is_one_of(params.get(needed, default), values) and not _has_legacy_goss(name, params):
            shown = " or ".join(str(value).lower() for value in values)
            remedy = "Remove it" if needed == "objective" else f"Remove it, or set trainer.params.{needed}"
            raise StageError(f"trainer.params.{alias} has an effect only where {needed} is {shown}", remedy)


def _has_legacy_goss(name: str, params: Params) -> bool:
    """Return whether an older spelling (`boosting: goss`) gives a parameter its effect."""
    return _DEPENDENCIES[name] is _GOSS and params.get("boosting") == "goss"


def _is_forest(params: Params) -> bool:
    return params.get("boosting") in ("rf", "random_forest")


def _is_one_of(value: Any, values: tuple[Any, ...]) -> bool:
    if values == (True,):
        return value is True or str(value).lower() in _TRUE
    return value in values


def _is_set(value: Any) -> bool:
    # LightGBM rejects a value of another type.
    return not isinstance(value, int | float) or value > 0


def _check_lengths(chosen: Params, features: int) -> None:
    """Raise StageError for a per-feature parameter whose number of values differs from the number of features."""
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


def _objective(spec: FeatureSpec, loss: settings.Loss | None) -> Params:
    if spec["task"] == "regression":
        kind = loss.kind if loss else "squared"
        parameter = {"quantile": loss.quantile, "huber": loss.delta}.get(kind) if loss else None
        return {"objective": _LOSSES[kind]} | ({} if parameter is None else {"alpha": parameter})
    classes = len(spec["classes"] or ())
    return {"objective": "binary"} if classes == 2 else {"objective": "multiclass", "num_class": classes}
