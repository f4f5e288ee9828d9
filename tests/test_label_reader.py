"""Labels are read by the rule that training read its target by; what is no class counts for no prediction."""

from __future__ import annotations

from typing import Any

import pytest

from ai_workflow.quality.label_reader import MISSING, UNKNOWN, UNREADABLE, LabelReader, RejectedLabel


def spec(classes: list[str] | None, declared: dict[str, Any] | None = None, **cells: Any) -> dict[str, Any]:
    return {"classes": classes, "target": "good", "cells": {**cells, **({"target": declared} if declared else {})}}


def read(reader: LabelReader, *labels: Any) -> list[str]:
    """Return the texts of labels, and the reasons of those that are rejected."""
    return [one.reason if isinstance(one, RejectedLabel) else one for one in reader.read(labels)]


STRIPPED = spec(["maybe", "no", "yes sir"], strip=True, missing=["?", "-1"])
FLOATS = spec(["1.0", "2.0"])
WORDS = spec(["false", "true"])
BOTH = spec(["1", "1.0"])
DECLARED = spec(["False", "True"], {"type": "boolean"})
WHOLE = spec(["1", "2"], {"type": "integer", "max": 2}, kinds={"good": "integer"})
TYPED = spec(["1", "2"], kinds={"good": "number"})


@pytest.mark.parametrize(
    ("known", "labels", "expected"),
    [
        (STRIPPED, ["  yes sir ", "yes sir", " ? ", "", "-1", -1, "none"],
         ["yes sir", "yes sir", MISSING, MISSING, MISSING, MISSING, UNKNOWN]),
        (FLOATS, ["1.0", 1, 1.0, "1", 3, True], ["1.0", "1.0", "1.0", UNKNOWN, UNKNOWN, UNKNOWN]),
        (WORDS, [True, False, "true", "True", 1], ["true", "false", "true", UNKNOWN, UNKNOWN]),
        (BOTH, ["1", "1.0", 1], ["1", "1.0", UNKNOWN]),
        (DECLARED, [True, "yes", "0", 1, "perhaps"], ["True", "True", "False", "True", UNKNOWN]),
        (WHOLE, [1, 1.0, "2", "2.0", 3], ["1", "1", "2", "2", UNKNOWN]),
        (TYPED, [1, "1.0", " 2 ", 2.0, True], ["1", "1", "2", "2", UNKNOWN]),
    ],
)  # fmt: skip
def test_label_is_parsed_like_training_class(known: dict[str, Any], labels: list[Any], expected: list[str]) -> None:
    assert read(LabelReader([known], is_number=False), *labels) == expected


def test_classes_of_all_versions_are_known_newest_takes_precedence() -> None:
    reader = LabelReader([spec(["b", "c"], strip=True), spec(["a", " b"])], is_number=False)
    assert read(reader, "a", " b", "c", "d") == ["a", "b", "c", UNKNOWN]
    assert reader.read(["d"]) == [RejectedLabel(UNKNOWN, "'d' is none of the classes 'b', 'c', 'a', ' b'")]


def test_regression_label_is_finite_number_within_target_bounds() -> None:
    known = spec(None, {"type": "number", "min": 0}, missing=["-1"])
    labels = ["3", 3, 2.5, " 4 ", "many", True, "inf", -2, -1, "-1.0", "nan"]
    expected = ["3.0", "3.0", "2.5", "4.0", *[UNREADABLE] * 4, MISSING, MISSING, MISSING]
    assert read(LabelReader([known], is_number=True), *labels) == expected
    assert read(LabelReader([], is_number=True), "3", "many") == ["3.0", UNREADABLE]


def test_any_text_is_class_without_versions() -> None:
    assert read(LabelReader([], is_number=False), "x", 1.0, "") == ["x", "1", UNREADABLE]
