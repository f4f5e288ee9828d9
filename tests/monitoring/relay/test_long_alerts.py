"""However long or odd an alert is, it is clipped and sent, never refused."""

from __future__ import annotations

import json

import pytest

from ai_workflow.alerting import alertmanager_webhook, prefect_webhook
from ai_workflow.alerting.messages.markup import Style, fit_to_limit
from ai_workflow.alerting.messages.notification import Notification
from ai_workflow.alerting.messages.rendering import render
from ai_workflow.alerting.request_bodies import InvalidBodyError
from tests.monitoring.relay.fake_vendors import KINDS, Vendors
from tests.monitoring.relay.running_relay import RunningRelay, alert, webhook
from tests.monitoring.relay.test_messages import plain, prefect

LONG = 40_000


def read(*alerts: object, **other: object) -> Notification:
    return alertmanager_webhook.parse(json.dumps(webhook(*alerts, **other)).encode())  # type: ignore[arg-type]


@pytest.mark.integration
def test_long_labels_and_annotations_are_truncated_and_delivered(relay: RunningRelay, vendors: Vendors) -> None:
    one = alert("a", pipeline="p" * LONG, **{"l" * LONG: "v" * LONG})
    one["annotations"] |= {"summary": "s" * LONG, "value": "v" * LONG, "n" * LONG: "n" * LONG}
    answer = relay.post(one, alert("b", alertname="Other"), group="g" * LONG, externalURL="http://am/" + "e" * LONG)
    assert answer.json() == {"delivered": list(KINDS), "failed": {}}
    for kind in KINDS:
        (text,) = vendors.texts(kind)
        assert "sss…" in text or "ppp…" in text
        assert "Other" in text


@pytest.mark.slow
def test_excess_alerts_are_counted_and_most_severe_kept() -> None:
    many = [alert(f"{index}", severity="chat") for index in range(10_000)]
    notification = read(*[alert("over", status="resolved")] * 5, *many, alert("last", alertname="Gravest"))
    assert len(notification.alerts) == 1000
    assert notification.alerts[0].name == "Gravest"
    assert all(one.is_firing for one in notification.alerts)
    assert "+9996 more" in plain(notification)


def test_truncated_group_keys_remain_unique() -> None:
    one, other = (read(alert("f" * LONG + end), group="k" * LONG + end) for end in "ab")
    assert one.group != other.group
    assert one.alerts[0].key != other.alerts[0].key
    assert len(one.alerts[0].key) < 4000


@pytest.mark.integration
def test_excess_labels_are_dropped_but_identifying_labels_kept() -> None:
    notification = read(alert(**{f"a_long_name_{index}": "x" for index in range(5000)}))
    assert notification.alerts[0].labels["model_version"] == "model_v2.3"
    assert len(notification.alerts[0].labels) <= 200
    # A page with a part of the labels filled in would silence other alerts as well.
    assert "silence" not in [link.kind for link in notification.alerts[0].links]


@pytest.mark.parametrize("odd", ["\ud800", "\udfff\ud800", "a\x00b", "\x1b[31m", "\u2028", "\ufffe"])
def test_control_and_surrogate_characters_are_removed(odd: str) -> None:
    for notification in (
        read(alert(pipeline=f"x{odd}y", **{f"l{odd}": odd}), group=odd or "g"),
        prefect_webhook.parse(json.dumps(prefect(message=f"x{odd}y", automation=f"n{odd}")).encode()),
    ):
        text = plain(notification)
        assert text.encode()
        assert "\x00" not in text
        assert "\x1b" not in text


def test_invalid_utf8_bytes_are_replaced() -> None:
    body = json.dumps(webhook(alert(pipeline="@@"))).encode().replace(b"@@", b"a\xff\xc3b")
    assert "a\ufffd" in alertmanager_webhook.parse(body).alerts[0].labels["pipeline"]


@pytest.mark.parametrize("body", [b"[" * 200_000, b'{"version": NaN}', b"\xff\xfe", b'{"a": "\\ud800"'])
def test_invalid_webhook_body_raises_error(body: bytes) -> None:
    with pytest.raises(InvalidBodyError):
        alertmanager_webhook.parse(body)


def test_automation_webhook_is_truncated_and_values_become_text() -> None:
    body = prefect(
        event="e" * LONG, event_id="i" * LONG, automation="a" * LONG, message={"deep": [1, {"x": "y"}]}, name=7,
        flow="f" * 200_000, url="http://x/" + "u" * LONG,
    )  # fmt: skip
    text = render(prefect_webhook.parse(json.dumps(body).encode()), "en", "UTC")
    assert len(text.title) <= 120
    shown = "".join(piece.text for line in text.lines for piece in line)
    assert '7: Failed. {"deep": [1, {"x": "y"}]}' in shown
    assert "aaa…" in shown


def test_version_or_stage_none_is_omitted() -> None:
    text = plain(read(alert(model_version="none", stage="none")))
    assert "none" not in text.partition("https://")[0]


@pytest.mark.integration
def test_truncated_notification_fits_smallest_limit() -> None:
    notification = read(*[alert(f"{index}", alertname="N" * LONG) for index in range(50)])
    text = fit_to_limit(notification, Style(), lambda _: False)
    assert 0 < len(text.title) <= 120
