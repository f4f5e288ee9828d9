"""What the plan promises: the newest stay, what is needed stays, each with its reason, and the rest may go."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ai_workflow.config.settings import Retention
from ai_workflow.registry import retention_policy
from ai_workflow.registry.retention_policy import VersionInfo

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
OLD = Retention(min_age_hours=1)


def _facts(count: int, hours: float = 100) -> list[VersionInfo]:
    return [VersionInfo(f"model_v1.{number}", 100, NOW - timedelta(hours=hours)) for number in range(count)]


def _deleted(
    facts: list[VersionInfo], policy: Retention, in_use: dict[str, list[str]], now: datetime = NOW
) -> list[str]:
    return [item.name for item in retention_policy.plan(facts, policy, in_use, now) if not item.is_kept]


def test_newest_three_versions_are_kept() -> None:
    assert _deleted(_facts(5), OLD, {}) == ["model_v1.0", "model_v1.1"]
    assert _deleted(_facts(3), OLD, {}) == []
    assert _deleted([], OLD, {}) == []


def test_version_in_use_is_kept_with_all_reasons() -> None:
    items = retention_policy.plan(
        _facts(5), OLD, {"model_v1.0": ["stable", "leased: service"], "model_v1.4": ["latest"]}, NOW
    )
    assert [item.reasons for item in items] == [
        ("stable", "leased: service"), (), ("among the newest 3",), ("among the newest 3",),
        ("latest", "among the newest 3"),
    ]  # fmt: skip


@pytest.mark.parametrize(("hours", "gone"), [(0.5, 0), (1.5, 2), (-24, 0)], ids=["young", "old", "of tomorrow"])
def test_young_or_future_dated_version_is_kept(hours: float, gone: int) -> None:
    assert len(_deleted(_facts(5, hours), OLD, {})) == gone


@pytest.mark.integration
@given(
    ages=st.lists(st.floats(-100, 1000), max_size=12),
    used=st.dictionaries(st.integers(0, 11), st.just(["leased"]), max_size=5),
    keep=st.integers(1, 5),
)
def test_plan_never_deletes_version_in_use(ages: list[float], used: dict[int, list[str]], keep: int) -> None:
    facts = [VersionInfo(f"model_v1.{number}", 1, NOW - timedelta(hours=age)) for number, age in enumerate(ages)]
    in_use = {f"model_v1.{number}": why for number, why in used.items()}
    gone = set(_deleted(facts, Retention(versions=keep), in_use))
    assert not gone & in_use.keys()
    assert not gone & {fact.name for fact in facts[-keep:]}
    assert len(facts) - len(gone) >= min(keep, len(facts))


@pytest.mark.parametrize(
    ("count", "shown"),
    [(0, "0B"), (1023, "1023B"), (1024, "1.0K"), (4_187_593_113, "3.9G"), (150 * 2**20, "150M"), (2**42, "4.0T")],
)
def test_sizes_are_formatted_like_du(count: int, shown: str) -> None:
    assert retention_policy.size(count) == shown


def test_future_dated_version_has_age_of_next_version() -> None:
    ahead = NOW + timedelta(days=400)
    facts = [VersionInfo("model_v1.0", 1, ahead), *_facts(4)[1:]]
    assert _deleted(facts, OLD, {}) == ["model_v1.0"]
    assert _deleted([*_facts(3), VersionInfo("model_v1.3", 1, ahead)], Retention(min_age_hours=1, versions=1), {}) == [
        "model_v1.0", "model_v1.1", "model_v1.2",
    ]  # fmt: skip
