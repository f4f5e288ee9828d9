"""Check of LightGBM parameters in `trainer.params`, without loading the library."""

from __future__ import annotations

import difflib
from typing import Any

from ai_workflow.config.settings import lightgbm_bounds
from ai_workflow.config.settings.lightgbm_names import NAMES

# For identical models on every run.
FIXED = {"deterministic": True, "force_row_wise": True, "verbosity": -1}
# Parameters that other settings set.
_SET_BY = {
    "num_iterations": "trainer.steps",
    "early_stopping_round": "trainer.early_stopping",
    "seed": "trainer.seed",
    "objective": "task and trainer.loss",
    "num_class": "the target's classes",
    "categorical_feature": "schema",
    "label_column": "target",
    "ignore_column": "schema (drop: true)",
    "data": "source",
    "valid": "evaluate.holdout",
}
# Parameters of the LightGBM command line, file reader, prediction, ranking and distributed training.
_UNUSED = (
    "config task convert_model convert_model_language header two_round weight_column group_column pre_partition "
    "precise_float_parser parser_config_file save_binary input_model output_model output_result snapshot_freq "
    "metric_freq is_provide_training_metric first_metric_only early_stopping_min_delta refit_decay_rate "
    "num_iteration_predict start_iteration_predict pred_early_stop pred_early_stop_freq pred_early_stop_margin "
    "predict_contrib predict_leaf_index predict_raw_score predict_disable_shape_check "
    "bagging_by_query eval_at label_gain lambdarank_norm lambdarank_truncation_level objective_seed "
    "lambdarank_position_bias_regularization tree_learner top_k num_machines local_listen_port machines "
    "machine_list_filename time_out"
)
WITHOUT_EFFECT = frozenset(_UNUSED.split())


def problems(params: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the name of each invalid parameter, and the reason."""
    invalid: list[tuple[str, str]] = []
    alias_of: dict[str, str] = {}
    for alias, value in params.items():
        if reason := refusal(alias, NAMES):
            text, remedy = reason
            invalid.append((alias, f"{text}; {remedy[0].lower()}{remedy[1:]}"))
            continue
        name = NAMES[alias]
        if name in alias_of:
            invalid.append((alias, f"is the same parameter as {alias_of[name]}; remove one"))
        elif name in WITHOUT_EFFECT:
            invalid.append((alias, "has no effect in a training; remove it"))
        elif problem := lightgbm_bounds.problem(name, value):
            invalid.append((alias, problem))
        alias_of[name] = alias
    return invalid


def set_by_loss(params: dict[str, Any]) -> str | None:
    """Return the parameter, as written, that the losses `huber` and `quantile` set; None if it is not given."""
    return next((alias for alias in params if NAMES.get(alias) == "alpha"), None)


def refusal(alias: str, names: dict[str, str]) -> tuple[str, str] | None:
    """Return why a parameter cannot be set, and the remedy; None if it can."""
    if alias not in names:
        own = set(names.values())
        similar = difflib.get_close_matches(alias, own, n=1) or difflib.get_close_matches(alias, names, n=1)
        return "is not a parameter of LightGBM", f"Did you mean '{similar[0]}'?" if similar else "Remove it"
    name = names[alias]
    if (key := _SET_BY.get(name)) is not None:
        return f"is set by {key}", f"Remove it, and set {key}"
    if name in FIXED:
        return "cannot be set: the same data must give the same model", "Remove it"
    return None
