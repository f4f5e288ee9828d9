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


def test_breach_starts_with_first_alert_and_ends_with_last() -> None:
    breaches = Breaches()
    assert said(breaches, alert("fast")) == [("breached", ID)]
    assert said(breaches, alert("fast")) == []
    assert said(breaches, alert("slow"), group="h") == []
    assert said(breaches, alert("fast", "resolved")) == []
    assert said(breaches, alert("slow", "resolved"), group="h") == [("resolved", ID)]
    assert said(breaches, alert("slow", "resolved"), group="h") == []


def test_breaches_are_separate_per_version_pipeline_and_slo() -> None:
    breaches = Breaches()
    alerts = [alert("a"), alert("b", model_version="model_v2.4"), alert("c", slo="latency", pipeline="")]
    assert [about for _, about in said(breaches, *alerts)] == [
        ID, "ai-workflow.slo.accuracy.credit.model_v2.4", "ai-workflow.slo.latency.-.model_v2.3",
    ]  # fmt: skip
    assert said(breaches, alert("a"), alert("b", "resolved", model_version="model_v2.4"), alerts[2]) == [
        ("resolved", "ai-workflow.slo.accuracy.credit.model_v2.4")
    ]


def test_alerts_resolved_together_end_single_breach() -> None:
    breaches = Breaches()
    said(breaches, alert("a"), alert("b"))
    assert said(breaches, alert("a", "resolved"), alert("b", "resolved")) == [("resolved", ID)]


def test_breach_ends_if_resolution_has_other_or_no_version() -> None:
    for version in ("", "model_v2.2"):
        breaches = Breaches()
        said(breaches, alert("a"))
        assert said(breaches, alert("a", "resolved", model_version=version)) == [("resolved", ID)]


def test_notification_without_version_continues_breach() -> None:
    breaches = Breaches()
    said(breaches, alert("a"))
    assert said(breaches, alert("a", model_version="")) == []


def test_version_identified_later_starts_new_breach() -> None:
    breaches = Breaches()
    said(breaches, alert("a", model_version=""))
    assert said(breaches, alert("a")) == [("breached", ID)]


def test_alert_without_slo_is_no_breach() -> None:
    assert said(Breaches(), alert("a", slo="")) == []


def test_resolution_without_known_breach_is_reported() -> None:
    assert said(Breaches(), alert("a", "resolved")) == [("resolved", ID)]


def test_unsent_breach_is_reported_with_next_notification() -> None:
    breaches = Breaches()
    (change,) = breaches.update(Notification("g", (alert("a"),)))
    breaches.forget(change)
    assert said(breaches, alert("a")) == [("breached", ID)]


def test_truncated_alerts_are_treated_as_firing() -> None:
    breaches = Breaches()
    said(breaches, alert("a"), alert("b", model_version="model_v2.4"))
    said(breaches, alert("a"), others=1)
    assert said(breaches, alert("a"), alert("b", model_version="model_v2.4")) == []


def test_breach_event_id_is_stable_and_payload_complete() -> None:
    first, again = (Breaches().update(Notification("g", (alert("a"),)))[0] for _ in range(2))
    other = Breaches().update(Notification("g", (alert("a", "resolved"),)))[0]
    assert first.id == again.id != other.id
    _holds(first)


def _holds(change: BreachChange) -> None:
    payload: dict[str, Any] = change.payload()
    assert (payload["value"], payload["objective"], payload["severity"]) == ("0.8", "0.9", "page")
    assert payload["since"] == "2025-01-15T10:00:00+00:00"
    assert change.resource.as_prefect("page")["ai-workflow.model_version"] == "model_v2.3"
