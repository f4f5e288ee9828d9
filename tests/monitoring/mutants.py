"""Every number of `slo.yaml` a quarter larger and smaller, and every expression of the rules changed at each place."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import yaml

from ai_workflow.slo.durations import PATTERN, seconds, shortest
from tests.monitoring.paths import SLO_FILE

PARTS = ("period", "windows", "slos", "alerts")
FACTORS = (Decimal("1.25"), Decimal("0.75"))
_FLIPS = {
    " > ": " <= ", " < ": " >= ", " >= ": " < ", " <= ": " > ", " == ": " != ", "\n> ": "\n<= ", "\n< ": "\n>= ",
    "\nand": "\nunless", "unless\n": "and\n", " or ": " and ", "\nor\n": "\nand\n", "  or\n": "  and\n",
}  # fmt: skip
_FLIP = re.compile("|".join(map(re.escape, _FLIPS)))
_NUMBER = re.compile(r"(?<![\w.\"])(\d+(?:\.\d+)?)(?![\w.\"])")
# Nothing is nothing over any window: that of what is multiplied by 0 does not matter.
_LENGTH = re.compile(r"(?<=\[)(\d+[smhdw])(?=\])(?!\]\)\) \* 0)")
_METRIC = re.compile(r"\b(?:up|[a-z]+(?::[a-z_]+)*_[a-z_:0-9]+)\b(?=[\[{) \n]|$)")


def of_numbers() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield what is changed, and the whole of `slo.yaml` with the change."""
    whole = yaml.safe_load(SLO_FILE.read_text())
    for path in _leaves({part: whole[part] for part in PARTS}):
        for factor in FACTORS:
            changed = copy.deepcopy(whole)
            inner = changed
            for key in path[:-1]:
                inner = inner[key]
            inner[path[-1]] = _scaled(path[-1], inner[path[-1]], factor)
            name = ".".join(str(key) for key in path)
            yield f"{name} x {factor}", changed


def of_expression(expr: str) -> Iterator[str]:
    """Yield the expression with one comparison, join, number, window or metric changed, for each that it has."""
    for pattern, change in (
        (_FLIP, _FLIPS.__getitem__), (_NUMBER, _other_number), (_LENGTH, _other_length), (_METRIC, _other_metric),
    ):  # fmt: skip
        for found in pattern.finditer(expr):
            yield expr[: found.start()] + change(found[0]) + expr[found.end() :]


def _other_number(text: str) -> str:
    return shortest(Decimal(text) * 2) if Decimal(text) else "1000000000"


def _other_length(text: str) -> str:
    return f"{seconds(text) * 2}s"


def _other_metric(text: str) -> str:
    return f"{text}_other"


def _leaves(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if isinstance(node, dict):
        for key, value in node.items():
            yield from _leaves(value, (*path, key))
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from _leaves(value, (*path, index))
    elif isinstance(node, int | float) or (isinstance(node, str) and PATTERN.fullmatch(node)):
        yield path


def _scaled(key: str, value: Any, factor: Decimal) -> Any:
    if isinstance(value, str):
        return f"{int(seconds(value) * factor)}s" if seconds(value) else "60s"
    exact = Decimal(str(value))
    if key == "objective":
        return float(100 - (100 - exact) * factor)
    return float(exact * factor if exact else (1 - factor) / 2)
