"""Contributions of the features as contributions of the columns that a caller sends."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ai_workflow.features.spec import FeatureSpec


def features_of(spec: FeatureSpec) -> dict[str, list[int]]:
    """Return the positions of the features of each column, in the order of the features.

    All features of a column belong to it, such as the parts of a date. A derived feature has its own name, because
    several columns may be its input.
    """
    positions: dict[str, list[int]] = {}
    for position, feature in enumerate(spec["features"]):
        name = feature["name"] if feature.get("derived") else feature["column"]
        positions.setdefault(name, []).append(position)
    return positions


def sums(values: Sequence[float], features: dict[str, list[int]]) -> dict[str, float]:
    """Return the contribution of each column from those of the features of one row."""
    return {name: math.fsum(values[position] for position in positions) for name, positions in features.items()}
