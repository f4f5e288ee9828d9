"""Types and bounds of common LightGBM parameters, checked without loading the library. A test compares both."""

from __future__ import annotations

import math
from typing import Any, NamedTuple


class Bound(NamedTuple):
    """Values that LightGBM accepts for a parameter; with `is_open`, the lower bound is exclusive."""

    is_whole: bool = False
    low: float = -math.inf
    high: float = math.inf
    is_open: bool = False


_SHARE = Bound(low=0, high=1, is_open=True)
_NOT_NEGATIVE = Bound(low=0)
BOUNDS = {
    "num_leaves": Bound(is_whole=True, low=2, high=131072),
    "max_depth": Bound(is_whole=True),
    "learning_rate": Bound(low=0, is_open=True),
    "max_bin": Bound(is_whole=True, low=2),
    "min_data_in_bin": Bound(is_whole=True, low=1),
    "min_data_in_leaf": Bound(is_whole=True, low=0),
    "bagging_freq": Bound(is_whole=True),
    "min_data_per_group": Bound(is_whole=True, low=1),
    "max_cat_threshold": Bound(is_whole=True, low=1),
    "max_cat_to_onehot": Bound(is_whole=True, low=1),
    "num_threads": Bound(is_whole=True),
    "scale_pos_weight": Bound(low=0, is_open=True),
    "drop_rate": Bound(low=0, high=1),
    "skip_drop": Bound(low=0, high=1),
    **dict.fromkeys(("bagging_fraction", "feature_fraction", "feature_fraction_bynode"), _SHARE),
    **dict.fromkeys(
        ("min_sum_hessian_in_leaf", "lambda_l1", "lambda_l2", "min_gain_to_split", "cat_l2", "cat_smooth",
         "path_smooth"),
        _NOT_NEGATIVE,
    ),
}  # fmt: skip


def problem(name: str, value: Any) -> str | None:
    """Return the problem of the value of a parameter, or None."""
    bound = BOUNDS.get(name)
    if bound is None or value is None:
        return "must be a single value or a list" if isinstance(value, dict) else None
    kind = "a whole number" if bound.is_whole else "a number"
    number = _number(value, bound)
    if number is None:
        return f"must be {kind}"
    if number < bound.low or number > bound.high or (bound.is_open and number == bound.low):
        return f"must be {kind}{_range(bound)}"
    return None


def _number(value: Any, bound: Bound) -> float | None:
    """Return a number as LightGBM parses it, also from text; None if it is invalid."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return None if math.isnan(number) or (bound.is_whole and not number.is_integer()) else number


def _range(bound: Bound) -> str:
    low = "" if bound.low == -math.inf else f" {'greater than' if bound.is_open else 'from'} {bound.low:g}"
    if bound.high == math.inf:
        return low if bound.is_open or not low else low.replace("from", "of at least")
    return f"{low}{', at most' if bound.is_open else ' to'} {bound.high:g}"
