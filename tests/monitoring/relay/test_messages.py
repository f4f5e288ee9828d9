"""What a message says, and that nothing in an alert can pass for markup, a mention or another link."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ai_workflow.alerting import alertmanager_webhook, prefect_webhook
from ai_workflow.alerting.messages import catalogue, formatting, markup
from ai_workflow.alerting.messages.catalogue import Language
from ai_workflow.alerting.messages.markup import Style, fit_to_limit
from ai_workflow.alerting.messages.notification import Alert, Link, Notification
from ai_workflow.alerting.messages.rendering import SizeBudget, render
from ai_workflow.alerting.messages.sanitize import clean, clean_url
from ai_workflow.alerting.request_bodies import InvalidBodyError
from tests.monitoring.relay.running_relay import alert, webhook

SINCE = datetime(2025, 1, 15, 10, tzinfo=UTC)


def plain(notification: Notification, **style: str) -> str:
    text = render(notification, style.get("language", "en"), style.get("zone", "UTC"))  # type: ignore[arg-type]
    return f"{text.title}\n{markup.PLAIN.lines(text.lines)}"


def notification(*alerts: object, **other: object) -> Notification:
    return alertmanager_webhook.parse(orjson.dumps(webhook(*alerts, **other)))  # type: ignore[arg-type]


def test_message_contains_all_fields_in_order() -> None:
    assert plain(notification(alert(), externalURL="")) == (
        "🔴 PAGE · AvailabilityBurn: availability / model_v2.3\n"
        "🔴 PAGE · availability / model_v2.3 · AvailabilityBurn (page_fast)\n"
        "2.13 % of requests fail; the objective is 0.1 %\n"
        "now 2.13 % · objective 0.1 % · since 2025-01-15 10:00:00 UTC · trace a3f7b2c1\n"
        "\n"
        "Runbook: https://runbooks/AvailabilityBurn.md · Dashboard: https://grafana/d/slo?var-slo=availability"
    )


@pytest.mark.parametrize("trace_id", ["", " ", None])
def test_alert_without_trace_has_no_trace_field(trace_id: str | None) -> None:
    """No request has reached a service that is down."""
    down = alert(alertname="InferenceTargetDown")
    del down["annotations"]["trace_id"]
    if trace_id is not None:
        down["annotations"]["trace_id"] = trace_id
    for language, word in (("en", "trace"), ("zh", "追踪")):
        text = plain(notification(down), language=language)
        assert word not in text
        assert not re.search(r"·\s*(·|$)", text, re.MULTILINE)


def test_chinese_message_uses_local_time_zone() -> None:
    found = notification(alert(status="resolved"), externalURL="")
    lasted = "持续 12 分钟 后恢复，2025-01-15 18:00:00 UTC+8 至 2025-01-15 18:12:00 UTC+8"
    assert plain(found, language="zh", zone="Asia/Shanghai").splitlines()[:3] == [
        "🟢 已恢复 · AvailabilityBurn: availability / model_v2.3",
        "🟢 已恢复 · availability / model_v2.3 · AvailabilityBurn (page_fast)",
        f"曾为 2.13 % · 目标 0.1 % · {lasted} · 追踪 a3f7b2c1",
    ]


def test_alerts_are_sorted_by_severity_with_worst_in_title() -> None:
    alerts = [
        alert("a", "resolved", alertname="Over"),
        alert("b", alertname="Minor", severity="chat"),
        alert("c", alertname="Grave"),
        alert("d", alertname="Middling", severity="ticket"),
    ]
    text = plain(notification(*alerts))
    assert text.splitlines()[0] == "🔴 PAGE · 3 firing, 1 resolved: Grave, Middling, Minor, Over"
    assert re.findall(r"· (Grave|Middling|Minor|Over) \(", text) == ["Grave", "Middling", "Minor", "Over"]


def test_shared_links_are_at_end_and_specific_links_per_alert() -> None:
    one, two = alert("a"), alert("b", model_version="model_v2.4")
    two["annotations"]["runbook_url"] = "https://runbooks/Other.md"
    lines = plain(notification(one, two)).splitlines()
    assert [line for line in lines if "Runbook" in line] == [
        "Runbook: https://runbooks/AvailabilityBurn.md", "Runbook: https://runbooks/Other.md",
    ]  # fmt: skip
    assert lines[-1].startswith("Dashboard: https://grafana/")
    assert "model_version" not in lines[-1]
    assert lines[-1].count("/#/silences/new?filter=") == 1


def test_alerts_with_different_names_have_separate_silence_links() -> None:
    text = plain(notification(alert("a", alertname="One"), alert("b", alertname="Two")))
    assert re.findall(r"alertname%3D%22(\w+)%22", text) == ["One", "Two"]


def test_message_without_slo_names_stage_and_run() -> None:
    found = alert(alertname="StageFailed", stage="trainer", pipeline="credit", slo="")
    found["annotations"] |= {"run_url": "http://prefect/runs/flow-run/1"}
    text = plain(notification(found))
    assert "trainer / credit" in text
    assert "Prefect run: http://prefect/runs/flow-run/1" in text


NASTY = "a*b_c_ `d` ~e~ [f](https://evil) <!channel> <@U1> @everyone <at id=all></at> <b>g</b> | # &amp;"


@pytest.mark.parametrize("name", ["SLACK", "DISCORD", "TELEGRAM", "TEAMS", "DINGTALK", "FEISHU", "WECOM"])
def test_markup_and_mentions_in_alert_text_are_escaped(name: str) -> None:
    vendor = getattr(markup, name)
    said = vendor.escape(NASTY)
    assert not re.search(r"(?<!\\)<(?!$)", said), said
    assert not re.search(r"(?<!\\)\[f(?<!\\)\]\(", said) or name in {"SLACK", "TELEGRAM"}, said
    assert "@everyone" not in said or name in {"SLACK", "TELEGRAM", "FEISHU"}
    assert "f" in said
    assert "everyone" in said


@pytest.mark.parametrize("start", ["- item", "> quote", "1. first", "# heading"])
def test_list_and_heading_markers_at_start_are_escaped(start: str) -> None:
    for vendor in (markup.DISCORD, markup.TEAMS, markup.DINGTALK, markup.FEISHU):
        assert not re.match(r"[->#]|\d+\.", vendor.escape(start))


@pytest.mark.parametrize("url", ["javascript:alert(1)", "ftp://x", "https://", "x", "https://a/" + "b" * 3000])
def test_invalid_url_is_not_rendered_as_link(url: str) -> None:
    found = alert()
    found["annotations"]["runbook_url"] = url
    assert "Runbook" not in plain(notification(found))


def test_special_characters_in_url_are_percent_encoded() -> None:
    assert clean_url("https://a/(b)>|c d\"'[e]") == "https://a/%28b%29%3E%7Cc%20d%22%27%5Be%5D"


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("a\nb\t c\u202e\x00d", "a b c d"),
        ("password=hunter2, next", "password=***, next"),
        ('{"api_key": "abc", "b": 1}', '{"api_key": ***", "b": 1}'),
        ("Authorization: Bearer abcdefgh.ijk", "Authorization: ***"),
        ("got Bearer abcdefgh.ijk", "got Bearer ***"),
        ("postgresql://ann:pw@host/db", "postgresql://***@host/db"),
        ("tokens=3 of 5, secretary at 9:00", "tokens=3 of 5, secretary at 9:00"),
    ],
)
def test_text_is_single_line_with_secrets_redacted(said: str, shown: str) -> None:
    assert clean(said) == shown


def test_cleaning_long_repetitive_text_is_fast() -> None:
    assert clean("a-" * 500_000, 10) == "a-a-a-a-a…"
    assert clean("://a" * 250_000, 10) == "://a://a:…"


@pytest.mark.parametrize(
    ("value", "unit", "said"),
    [
        ("0.0213", "ratio", "2.13 %"), ("0.999", "percentunit", "99.9 %"), ("97.5", "percent", "97.5 %"),
        ("0.2501", "seconds", "0.2501 s"), ("123456", "", "123456"), ("12", "requests/s", "12 requests/s"),
        ("+Inf", "ratio", "+Inf"), ("much", "ratio", "much"),
    ],
)  # fmt: skip
def test_numbers_are_formatted_with_unit(value: str, unit: str, said: str) -> None:
    assert formatting.number(value, unit) == said


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0, "0 s"), (59, "59 s"), (720, "12 min"), (3725, "1 h 2 min"), (90_000, "1 d 1 h"), (-5, "0 s")],
)
def test_durations_are_formatted_in_two_units(seconds: int, said: str) -> None:
    assert formatting.duration(timedelta(seconds=seconds), catalogue.load("en").units) == said


def test_timestamps_are_formatted_with_utc_offset() -> None:
    assert formatting.timestamp(SINCE, "Asia/Kolkata") == "2025-01-15 15:30:00 UTC+5:30"
    assert formatting.timestamp(SINCE, "America/New_York") == "2025-01-15 05:00:00 UTC-5"


def test_oversized_message_is_truncated_from_end_but_keeps_title() -> None:
    alerts = tuple(
        Alert(f"g/{index}", "firing", f"Name{index}", "page", "much to say " * 50, since=SINCE,
              links=(Link("runbook", f"https://runbooks/{index}/" + "x" * 500),))
        for index in range(8)
    )  # fmt: skip
    whole = Notification("g", alerts)

    def body(most: int) -> str:
        text = fit_to_limit(whole, Style(), lambda text: len(markup.PLAIN.lines(text.lines)) <= most)
        return markup.PLAIN.lines(text.lines)

    assert "more" not in body(20_000)
    assert "+5 more" in body(4000)
    assert "Name0" in body(4000)
    assert "+7 more" in body(400)
    assert "https" not in body(400)
    assert body(1) == ""
    assert render(whole, "en", "UTC", SizeBudget(1)).title.startswith("🔴 PAGE · 8 firing: Name0")


def test_long_names_are_truncated() -> None:
    found = notification(alert(model_version="v" * 5000, alertname="N" * 5000))
    text = render(found, "en", "UTC")
    assert len(text.title) <= 120
    assert len(plain(replace(found, silence=""))) < 14_000


WORDS = st.text(max_size=300)
MOMENTS = st.datetimes(timezones=st.sampled_from([UTC])).map(lambda at: at.isoformat())


@st.composite
def any_alert(draw: st.DrawFn) -> dict[str, object]:
    labels = draw(st.dictionaries(st.sampled_from(["alertname", "slo", "severity", "window", "pipeline", "x"]), WORDS))
    notes = ["summary", "value", "objective", "unit", "runbook_url", "trace_id"]
    annotations = draw(st.dictionaries(st.sampled_from(notes), WORDS | st.floats().map(str)))
    return {
        "status": draw(st.sampled_from(["firing", "resolved"])), "labels": labels, "annotations": annotations,
        "startsAt": draw(MOMENTS), "endsAt": draw(MOMENTS), "fingerprint": draw(st.text("abc", min_size=1, max_size=2)),
    }  # fmt: skip


@pytest.mark.integration
@given(st.lists(any_alert(), min_size=1, max_size=15), st.sampled_from(["en", "zh"]))
@settings(max_examples=25, deadline=None)
def test_arbitrary_alert_fits_limits_of_every_vendor(alerts: list[object], language: Language) -> None:
    found = notification(*alerts)
    for vendor in (markup.SLACK, markup.DISCORD, markup.TELEGRAM, markup.DINGTALK, markup.FEISHU, markup.WECOM):
        text = fit_to_limit(
            found, Style(language, "Asia/Shanghai"), lambda text, vendor=vendor: len(vendor.lines(text.lines)) < 3000
        )
        assert 0 < len(text.title) <= 120
        assert "\n" not in text.title
        assert len(vendor.lines(text.lines)) < 3000


def prefect(**other: object) -> dict[str, object]:
    return {
        "event": "prefect.flow-run.Failed", "event_id": "e1", "occurred": "2025-01-15T10:00:00Z",
        "automation": "A training failed", "name": "wise-otter", "flow": "training", "state": "Failed",
        "message": "trainer: CUDA out of memory at step 300", "url": "http://prefect/runs/flow-run/1",
        "flow_run_id": "0b0e2d8c-90c0-4f0a-8d1c-2f6b1f6f2b11", **other,
    }  # fmt: skip


def test_prefect_automation_message_uses_alert_format() -> None:
    traceparent = f"00-{'ab' * 16}-{'cd' * 8}-01"
    text = plain(prefect_webhook.parse(orjson.dumps(prefect(traceparent=traceparent, deployment="None"))))
    assert text.splitlines() == [
        "🟠 TICKET · A training failed: training",
        "🟠 TICKET · training · A training failed",
        "wise-otter: Failed. trainer: CUDA out of memory at step 300",
        "since 2025-01-15 10:00:00 UTC · trace abababab",
        "",
        "Prefect run: http://prefect/runs/flow-run/1",
    ]


@pytest.mark.parametrize("other", [{"event": ""}, {"occurred": "yesterday"}, {"severity": "loud"}, {"event_id": None}])
def test_invalid_prefect_webhook_body_is_rejected(other: dict[str, object]) -> None:
    with pytest.raises(InvalidBodyError, match=next(iter(other))):
        prefect_webhook.parse(orjson.dumps(prefect(**other)))
