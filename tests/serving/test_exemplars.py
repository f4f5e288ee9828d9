"""What requests are shown by their trace: few, of late, and of versions that serve."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from prometheus_client import REGISTRY

from ai_workflow.serving import exemplars
from ai_workflow.serving.exemplars import Exemplars
from ai_workflow.serving.unseen_categories import UnseenCategories
from ai_workflow.telemetry import metrics


@pytest.fixture(autouse=True)
def _afresh() -> Iterator[None]:
    metrics.get("inference_example_info").clear()
    yield
    metrics.get("inference_example_info").clear()


def shown() -> set[tuple[str, ...]]:
    found = next(family for family in REGISTRY.collect() if family.name == "inference_example_info")
    return {(each.labels["model_version"], each.labels["kind"], each.labels["trace_id"]) for each in found.samples}


def test_first_exemplar_per_kind_and_version_is_kept() -> None:
    kept = Exemplars("shop")
    for trace_id in ("a", "b"):
        kept.record("v1", "error", trace_id)
        kept.record("v1", "timeout", trace_id)
        kept.record("v2", "error", trace_id)
    assert shown() == {("v1", "error", "a"), ("v1", "timeout", "a"), ("v2", "error", "a")}


def test_each_column_has_separate_exemplar() -> None:
    kept = Exemplars("shop")
    for column, trace_id in (("city", "a"), ("colour", "b"), ("city", "c")):
        kept.record("v1", "unseen", trace_id, column=column)
    assert shown() == {("v1", "unseen", "a"), ("v1", "unseen", "b")}
    kept.forget("v1")
    assert shown() == set()


def test_retired_version_exports_no_unseen_categories() -> None:
    unseen = UnseenCategories("shop", Exemplars("shop"))
    unseen.count("never served", {"city": 3}, "a")
    assert shown() == set()
    samples = [sample for family in REGISTRY.collect() for sample in family.samples]
    assert "never served" not in {sample.labels.get("model_version") for sample in samples}


def test_much_slower_request_replaces_slow_exemplar() -> None:
    kept = Exemplars("shop")
    for trace_id, seconds in (("a", 0.2), ("b", 0.3), ("c", 0.5), ("d", 0.4)):
        kept.record("v1", "slow", trace_id, seconds)
    assert shown() == {("v1", "slow", "c")}


def test_expired_exemplar_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exemplars, "_KEEP_SECONDS", 0.0)
    kept = Exemplars("shop")
    for trace_id in ("a", "b"):
        kept.record("v1", "error", trace_id)
    assert shown() == {("v1", "error", "b")}


def test_retired_version_has_no_exemplars() -> None:
    kept = Exemplars("shop")
    kept.record("v1", "error", "a")
    kept.record("v2", "error", "b")
    kept.forget("v1")
    assert shown() == {("v2", "error", "b")}
    kept.record("v1", "error", "c")
    assert ("v1", "error", "c") in shown()
