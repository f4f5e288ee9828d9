"""Drawn typed tables: columns of all datatypes of the Open Inference Protocol, as Arrow, tensors and JSON have them."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from ai_workflow.serving.protocol.tensors import NUMBER_FORMATS
from tests.semantics.generated_tables import TOKENS, Drawn, numbers


@dataclass(frozen=True)
class Typed:
    """A column of a typed table: its values as Arrow has them, and as JSON and a tensor have them."""

    name: str
    array: Any
    datatype: str
    values: Sequence[Any]


_WIDTHS = {f"{sign}INT{bits}": bits for sign in ("", "U") for bits in (8, 16, 32, 64)}


def typed_table(chance: random.Random, columns: Sequence[Drawn], count: int) -> list[Typed]:
    """Return columns of drawn Arrow types with ordinary and odd values, each with a datatype of the protocol."""
    return [_typed(chance, column, count) for column in columns]


def _typed(chance: random.Random, column: Drawn, count: int) -> Typed:
    kinds = ["BYTES", "BYTES", "BOOL", *_WIDTHS, "FP16", "FP32", "FP32", "FP64", "FP64"]
    kinds = ["BYTES"] if column.type == "datetime" else kinds
    kind = chance.choice(kinds)
    numerals = [*numbers([*column.cells, *TOKENS]), 0.0, 1.0, 2.5, -1.0]
    values: list[Any] = []
    for _ in range(count):
        if kind == "BYTES":
            values.append(chance.choice(column.cells))
        elif kind == "BOOL":
            values.append(chance.random() < 0.5)
        elif kind in _WIDTHS:
            bits, is_signed = _WIDTHS[kind], not kind.startswith("U")
            low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if is_signed else (0, min(2**bits, 2**63) - 1)
            drawn = chance.choice([int(found) for found in numerals if found.is_integer() and abs(found) < 2**63])
            values.append(min(max(drawn if chance.random() < 0.7 else chance.randint(low, high), low), high))
        else:
            values.append(chance.choice(numerals) if chance.random() < 0.7 else chance.uniform(-1000, 1000))
    return _of_kind(column.name, kind, values)


def _of_kind(name: str, kind: str, values: list[Any]) -> Typed:
    """Return the values as Arrow, a tensor and JSON have them; a float32 is its shortest decimal in JSON."""
    types = {"BYTES": pa.string(), "BOOL": pa.bool_(), "FP16": pa.float16(), "FP32": pa.float32(), "FP64": pa.float64()}
    if kind in ("FP16", "FP32"):
        with np.errstate(over="ignore"):
            narrow = np.array(values, dtype=NUMBER_FORMATS[kind])
        narrow[~np.isfinite(narrow)] = 1
        return Typed(name, pa.array(narrow), kind, [float(str(np.float32(each))) for each in narrow])
    arrow = types.get(kind) or getattr(pa, kind.lower())()
    return Typed(name, pa.array(values, arrow), kind, values)
