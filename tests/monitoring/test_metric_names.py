"""Benchmarks, pages and runbooks name only metrics that are exported, and only labels that these have."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from ai_workflow.config.settings import ConfigModel
from ai_workflow.slo import validation
from ai_workflow.telemetry import metrics

ROOT = Path(__file__).parents[2]
PROGRAMS = sorted((ROOT / "benchmarks").rglob("*.py"))
PAGES = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "monitoring" / "runbooks").glob("*.md")),
]
# The first and the last words of metrics: what begins and ends so looks like one.
_FIRST = {metric.name.split("_")[0] for metric in metrics.TABLE}
_LAST = {metric.name.rsplit("_", 1)[1] for metric in metrics.TABLE} | {"bucket", "count", "sum"}
_NAME = re.compile(r"(?<![\w./-])[a-z]+(?:_[a-z]+)+(?![\w(])")
_WITH_LABELS = re.compile(r"(?<![\w./-])([a-z]+(?:_[a-z]+)+)\{([^{}]*)\}")


def test_benchmarks_use_exported_metrics_and_labels() -> None:
    wrong = [
        f"{path.name}: {problem}" for path in PROGRAMS for text in _texts(path.read_text()) for problem in _wrong(text)
    ]

    assert wrong == []


def test_docs_name_exported_metrics_and_labels() -> None:
    shown = {metric.name: metric.labels for metric in metrics.TABLE} | dict.fromkeys(_settings(), ())

    wrong = [f"{path.name}: {problem}" for path in PAGES for problem in _wrong(path.read_text(), shown)]

    assert wrong == []


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        ("sum(rate(inference_total[1m])) > 15", 0),
        ("sum(rate(inference_answers_total[1m])) > 15", 1),
        ('inference_requests_total{pipeline="p",status="error"}', 0),
        ('inference_requests_total{model_version="m"}', 1),
        ("| `inference_requests_total{pipeline, version}` | all |", 1),
        ("the setting service.max_in_flight, model_v1.0 and the file model_file", 0),
    ],
)
def test_unknown_metric_name_is_detected(text: str, problems: int) -> None:
    assert len(list(_wrong(text))) == problems


def test_benchmark_queries_are_extracted_from_source() -> None:
    """Also one that is put together of pieces."""
    texts = list(_texts('x.until("rate(inference_total[1m])"); f"{name}:inference_answers_total"'))

    assert "rate(inference_total[1m])" in texts
    assert sum(len(list(_wrong(text))) for text in texts) == 1
    assert any("inference_requests_total" in text for path in PROGRAMS for text in _texts(path.read_text()))


def _texts(code: str) -> Iterator[str]:
    """Yield the texts of a program that are no docstrings."""
    tree = ast.parse(code)
    bare = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in bare:
            yield node.value


def _settings() -> set[str]:
    """Return the names of all settings: some look like metrics."""
    return {name for section in ConfigModel.__subclasses__() for name in section.model_fields}


def _wrong(text: str, more: Mapping[str, tuple[str, ...]] = {}) -> Iterator[str]:
    """Yield what a text names that looks like a metric and is none, and labels that a metric does not have.

    Args:
        text: of a query, or of a page.
        more: names that are known besides the series that queries may ask for, with their labels.
    """
    known = {**validation.series(), **more}
    for name in dict.fromkeys(_NAME.findall(text)):
        first, last = name.split("_")[0], name.rsplit("_", 1)[1]
        if first in _FIRST and last in _LAST and name not in known:
            yield f"no metric {name} is exported"
    for name, inside in _WITH_LABELS.findall(text):
        if name in known:
            labels = [part.split("=")[0].rstrip("!").strip() for part in _split(inside)]
            yield from (
                f"{name} has no label {label}"
                for label in labels
                if label and label not in (*known[name], "job", "instance")
            )


def _split(inside: str) -> list[str]:
    return re.sub(r'"(?:[^"\\]|\\.)*"', "", inside).split(",")
