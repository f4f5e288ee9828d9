"""Check of a stage of own code: its result for a row does not depend on the rows beside it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from ai_workflow.cleaning import stage_rows
from ai_workflow.datasets.partitions import ROW
from ai_workflow.errors import StageError

if TYPE_CHECKING:
    import pyarrow as pa

    from ai_workflow.cleaning.own_stage import OwnStage

SAMPLE_ROWS = 200
_REMEDY = "The result for a row must depend on this row only, because the rows come in parts"
# Vectorized functions of NumPy differ in the last digits for another number of rows.
_TOLERANCE = 1e-9


def check(stage: OwnStage, sample: pa.Table, source: str) -> None:
    """Check a stage with rows at once and in two parts.

    Raises:
        StageError: a row is dropped or has another value in one of the two ways.
    """
    if sample.num_rows < 2:
        return
    half = sample.num_rows // 2
    whole = stage.rows(sample, source)
    parts = [stage.rows(part, source) for part in (sample.slice(0, half), sample.slice(half))]
    kinds = [stage_rows.kinds_of(each.table) for each in (whole, *parts)]
    common = stage_rows.common_kinds(kinds, stage.label)
    at_once = _by_position(whole.positions.tolist(), stage_rows.typed(whole.table, common))
    in_parts: dict[int, dict[str, Any]] = {}
    for start, part in zip((0, half), parts, strict=True):
        positions = [start + position for position in part.positions.tolist()]
        in_parts |= _by_position(positions, stage_rows.typed(part.table, common))
    for position in range(sample.num_rows):
        label = stage_rows.label_of(sample, position, source)
        one, other = at_once.get(position), in_parts.get(position)
        if (one is None) != (other is None):
            ways = ("dropped", "kept") if one is None else ("kept", "dropped")
            raise StageError(
                f"{stage.label}: {label} is {ways[0]} among other rows, and {ways[1]} among fewer rows", _REMEDY
            )
        for name in one or ():
            if one and other and not _is_equal(one[name], other[name]):
                raise StageError(
                    f"{stage.label}: {name} of {label} is {one[name]!r} among other rows, and {other[name]!r} among "
                    "fewer rows",
                    _REMEDY,
                )


def _by_position(positions: list[int], table: pa.Table) -> dict[int, dict[str, Any]]:
    rows = table.drop_columns([ROW]).to_pylist()
    return dict(zip(positions, rows, strict=True))


def _is_equal(one: Any, other: Any) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=_TOLERANCE, abs_tol=_TOLERANCE)
    return bool(one == other)
