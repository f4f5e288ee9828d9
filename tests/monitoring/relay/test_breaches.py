"""When a breach of an SLO begins and is over, whatever the number of alerts that tell it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from ai_workflow.alerting.breaches import BreachChange, Breaches
from ai_workflow.alerting.messages.notification import Alert, Notification

SINCE, UNTIL = datetime(2025, 1, 15, 10, tzinfo=UTC), datetime(2025, 1, 15, 10, 12, tzinfo=UTC)


def alert(key: str, status: str = "firing", **labels: str) -> Alert:
    about = {"slo": "accuracy", "pipeline": "credit", "model_version": "model_v2.3", **labels}
    until = UNTIL if status == "resolved" else None
    return Alert(key, status, key, "page", "too low", "0.8", "0.9", since=SINCE, until=until, labels=about)  # type: ignore[arg-type]


def said(breaches: Breaches, *alerts: Alert, group: str = "g", others: int = 0) -> list[tuple[str, str]]:
    return [(change.kind, change.resource.id) for change in breaches.update(Notification(group, alerts, others))]


ID = "ai-workflow.slo.accuracy.credit.model_v2.3"


def test_a_breach_begins_with_its_first_alert_and_ends_with_its_last() -> None:
    breaches = Breaches()
    assert said(breaches, alert("fast")) == [("breached", ID)]
    assert said(breaches, alert("fast")) == []
    assert said(breaches, alert("slow"), group="h") == []
    assert said(breaches, alert("fast", "resolved")) == []
    assert said(breaches, alert("slow", "resolved"), group="h") == [("resolved", ID)]
    assert said(breaches, alert("slow", "resolved"), group="h") == []


def test_versions_pipelines_and_slos_are_breached_each_by_itself() -> None:
    breaches = Breaches()
    alerts = [alert("a"), alert("b", model_version="model_v2.4"), alert("c", slo="latency", pipeline="")]
    assert [about for _, about in said(breaches, *alerts)] == [
        ID, "ai-workflow.slo.accuracy.credit.model_v2.4", "ai-workflow.slo.latency.-.model_v2.3",
    ]  # fmt: skip
    assert said(breaches, alert("a"), alert("b", "resolved", model_version="model_v2.4"), alerts[2]) == [
        ("resolved", "ai-workflow.slo.accuracy.credit.model_v2.4")
    ]


def test_two_alerts_that_end_together_end_one_breach() -> None:
    breaches = Breaches()
    said(breaches, alert("a"), alert("b"))
    assert said(breaches, alert("a", "resolved"), alert("b", "resolved")) == [("resolved", ID)]


def test_a_breach_ends_also_if_its_last_notice_names_another_version_or_none() -> None:
    for version in ("", "model_v2.2"):
        breaches = Breaches()
        said(breaches, alert("a"))
        assert said(breaches, alert("a", "resolved", model_version=version)) == [("resolved", ID)]


def test_a_notice_that_finds_no_version_any_more_is_the_same_breach() -> None:
    breaches = Breaches()
    said(breaches, alert("a"))
    assert said(breaches, alert("a", model_version="")) == []


def test_a_version_that_is_found_later_is_a_breach_of_its_own() -> None:
    breaches = Breaches()
    said(breaches, alert("a", model_version=""))
    assert said(breaches, alert("a")) == [("breached", ID)]


def test_an_alert_without_slo_is_no_breach() -> None:
    assert said(Breaches(), alert("a", slo="")) == []


def test_an_end_whose_beginning_was_missed_is_told() -> None:
    assert said(Breaches(), alert("a", "resolved")) == [("resolved", ID)]


def test_what_could_not_be_told_is_told_with_the_next_notice() -> None:
    breaches = Breaches()
    (change,) = breaches.update(Notification("g", (alert("a"),)))
    breaches.forget(change)
    assert said(breaches, alert("a")) == [("breached", ID)]


def test_alerts_that_alertmanager_left_out_still_fire() -> None:
    breaches = Breaches()
    said(breaches, alert("a"), alert("b", model_version="model_v2.4"))
    said(breaches, alert("a"), others=1)
    assert said(breaches, alert("a"), alert("b", model_version="model_v2.4")) == []


def test_the_same_change_has_the_same_id_after_a_restart_and_says_what_an_automation_needs() -> None:
    first, again = (Breaches().update(Notification("g", (alert("a"),)))[0] for _ in range(2))
    other = Breaches().update(Notification("g", (alert("a", "resolved"),)))[0]
    assert first.id == again.id != other.id
    _holds(first)


def _holds(change: BreachChange) -> None:
    payload: dict[str, Any] = change.payload()
    assert (payload["value"], payload["objective"], payload["severity"]) == ("0.8", "0.9", "page")
    assert payload["since"] == "2025-01-15T10:00:00+00:00"
    assert change.resource.as_prefect("page")["ai-workflow.model_version"] == "model_v2.3"
