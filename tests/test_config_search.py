"""Checks of `trainer.search`: each invalid setting is refused with its place and a remedy."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from ai_workflow.config.loader import ConfigError, load
from ai_workflow.config.settings import SearchParameter
from ai_workflow.config.settings.search import problems as search_problems

pytestmark = pytest.mark.unit


def problem(tmp_path: Path, search: dict[str, object], kind: str = "lightgbm") -> str:
    file = tmp_path / "p.yaml"
    trainer = json.dumps({"kind": kind, "params": {"max_depth": 3} if kind == "lightgbm" else {}, "search": search})
    file.write_text(f"pipeline: p\ntask: classification\nsource: {{kind: sample}}\ntarget: y\ntrainer: {trainer}\n")
    with pytest.raises(ConfigError) as caught:
        load(file, env={})
    return str(caught.value)


@pytest.mark.parametrize(
    ("parameter", "expected"),
    [
        ({"low": 3, "high": 3}, "must be less than high, 3, but it is 3"),
        ({"low": 0, "high": 3, "log": True}, "must be greater than 0 with log true, but it is 0"),
        ({"choices": []}, "choices must have at least one value"),
        ({"low": 3}, "needs low and high"),
        ({"choices": [3], "low": 1}, "choices excludes low, high and log"),
        ({"low": 2, "high": 9, "step": 1}, "unknown key; known here choices, high, log, low"),
        ({"choices": [2, 3, 2]}, "choices has 2 more than once"),
        ({"low": -1.7e308, "high": 1.7e308}, "high - low must be a finite number"),
        ({"low": 1, "high": 2**60}, "whole numbers must be from"),
        ({"low": True, "high": 3}, "must be a number"),
        ({"low": 2.0, "high": 64.0}, "must be a whole number"),
        ({"low": "2.0", "high": "64.0"}, "must be a whole number"),
    ],
)
def test_invalid_range_is_refused(tmp_path: Path, parameter: dict[str, object], expected: str) -> None:
    text = problem(tmp_path, {"parameters": {"num_leaves": parameter}})
    assert "p.yaml:5: trainer.search.parameters.num_leaves" in text
    assert expected in text.replace(": ", " ")


@pytest.mark.parametrize(
    ("kind", "name", "values", "expected"),
    [
        ("lightgbm", "leaves", {"low": 2, "high": 9}, "is not a parameter of LightGBM"),
        ("lightgbm", "leaves", {"low": 2, "high": 9}, ". Known are bagging_fraction"),
        ("lightgbm", "num_threads", {"low": 1, "high": 9}, "is about the machine"),
        ("torch_mlp", "device", {"choices": ["cpu", "cuda"]}, "is about the machine"),
        ("torch_mlp", "leaves", {"low": 2, "high": 9}, "known here: hidden, learning_rate"),
        ("lightgbm", "num_leaves", {"low": 1, "high": 9}, "must be a whole number from 2"),
        ("lightgbm", "max_depth", {"low": 1, "high": 9}, "is in trainer.params too; remove it there or here"),
    ],
)
def test_invalid_parameter_is_refused(
    tmp_path: Path, kind: str, name: str, values: dict[str, object], expected: str
) -> None:
    text = problem(tmp_path, {"parameters": {name: values}}, kind)
    assert f"p.yaml:5: trainer.search.parameters.{name}" in text
    assert expected in text


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"trials": 0}, "trainer.search.trials: must be at least 1"),
        ({"metric": "rmse"}, "trainer.search.metric: rmse is not a metric of classification: one of accuracy"),
        ({"folds": 2, "scored_folds": 3}, "must be at most folds, 2, but it is 3"),
        ({"parameters": {}}, "trainer.search.parameters"),
    ],
)
def test_invalid_search_is_refused(tmp_path: Path, changes: dict[str, object], expected: str) -> None:
    assert expected in problem(tmp_path, {"parameters": {"num_leaves": {"low": 2, "high": 9}}, **changes})


@pytest.mark.parametrize(
    ("parameter", "value", "end"),
    [
        ({"low": 2, "high": 31}, 2, 2),
        ({"low": 2, "high": 31}, 3, None),
        ({"low": 2, "high": 31}, 31, 31),
        ({"low": 0.0, "high": 1.0}, 0.995, 1.0),
        ({"low": 0.0, "high": 1.0}, 0.98, None),
        ({"low": 0.001, "high": 1.0, "log": True}, 0.00101, 0.001),
        ({"low": 0.001, "high": 1.0, "log": True}, 0.01, None),
        ({"choices": [1, 2]}, 1, None),
    ],
)
def test_end_of_a_range_is_known(parameter: dict[str, Any], value: float, end: float | None) -> None:
    assert SearchParameter.model_validate(parameter).end_at(value) == end


def test_quoted_number_is_read_as_it_is_written() -> None:
    assert not SearchParameter.model_validate({"low": "0.0", "high": "10.0"}).is_whole
    assert SearchParameter.model_validate({"low": "2", "high": "10"}).is_whole


@pytest.mark.parametrize("value", [float("inf"), [1, float("nan")], {"a": [float("-inf")]}])
def test_choice_that_no_report_can_hold_is_refused(value: object) -> None:
    with pytest.raises(ValidationError, match="choices must be finite"):
        SearchParameter.model_validate({"choices": [1, value]})


def test_own_code_may_have_a_parameter_of_any_name() -> None:
    samples = {"device": ("phone", "tablet")}
    assert search_problems.problems("models:Trainer", {}, samples) == []
    assert [name for name, _ in search_problems.problems("lightgbm", {}, samples)] == ["device"]
