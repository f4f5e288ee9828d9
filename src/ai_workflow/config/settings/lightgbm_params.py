"""Which parameters of LightGBM `trainer.params` may hold; checked without the library."""

from __future__ import annotations

import difflib
from typing import Any

from ai_workflow.config.settings import lightgbm_bounds
from ai_workflow.config.settings.lightgbm_names import NAMES

# Same bytes on every run: no racing histograms, one memory layout.
FIXED = {"deterministic": True, "force_row_wise": True, "verbosity": -1}
# These have a place of their own in the settings; a second place would silently win or lose.
_ELSEWHERE = {
    "num_iterations": "trainer.steps",
    "early_stopping_round": "trainer.early_stopping",
    "seed": "trainer.seed",
    "objective": "task",
    "num_class": "the target's classes",
    "categorical_feature": "schema",
    "label_column": "target",
    "ignore_column": "schema (drop: true)",
    "data": "source",
    "valid": "evaluate.holdout",
}
# Parameters of LightGBM's command line, of its file reader, of prediction, of ranking and of training on many machines.
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


def problems(given: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the name of each parameter that no training takes, and why; LightGBM is not loaded."""
    found: list[tuple[str, str]] = []
    alias_of: dict[str, str] = {}
    for alias, value in given.items():
        if reason := refusal(alias, NAMES):
            problem, remedy = reason
            found.append((alias, f"{problem}; {remedy[0].lower()}{remedy[1:]}"))
            continue
        name = NAMES[alias]
        if name in alias_of:
            found.append((alias, f"is the same parameter as {alias_of[name]}; remove one"))
        elif name in WITHOUT_EFFECT:
            found.append((alias, "has no effect in a training; remove it"))
        elif wrong := lightgbm_bounds.problem(name, value):
            found.append((alias, wrong))
        alias_of[name] = alias
    return found


def refusal(alias: str, names: dict[str, str]) -> tuple[str, str] | None:
    """Return why a parameter cannot be set, and the remedy; None if it can."""
    if alias not in names:
        own = set(names.values())
        near = difflib.get_close_matches(alias, own, n=1) or difflib.get_close_matches(alias, names, n=1)
        return "is not a parameter of LightGBM", f"Did you mean '{near[0]}'?" if near else "Remove it"
    name = names[alias]
    if (place := _ELSEWHERE.get(name)) is not None:
        return f"is set by {place}", f"Remove it, and set {place}"
    if name in FIXED:
        return "cannot be set: the same data must give the same model", "Remove it"
    return None
