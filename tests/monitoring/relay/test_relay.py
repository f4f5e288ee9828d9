"""A running relay: every channel is told, once, whatever the others do; who posts is told the truth."""

from __future__ import annotations

import itertools
import threading
from pathlib import Path

import httpx
import pytest

from tests.monitoring.relay.fake_vendors import KINDS, Vendors
from tests.monitoring.relay.running_relay import LIVELY, RunningRelay, alert, until, webhook

_numbers = itertools.count()
FAULTS = [
    *((kind, "refuse") for kind in KINDS),
    *((kind, "html") for kind in ("dingtalk", "feishu", "wecom", "slack")),
    *((kind, "500") for kind in ("dingtalk", "discord")),
    *((kind, "drop") for kind in ("feishu", "telegram")),
    *((kind, "redirect") for kind in ("wecom", "webhook", "discord")),
]


def group() -> str:
    """Return a group that no other test has."""
    return f"group-{next(_numbers)}"


def others(kind: str) -> set[str]:
    return set(KINDS) - {kind}


@pytest.mark.integration
def test_every_vendor_accepts_message_with_on_call_details(relay: RunningRelay, vendors: Vendors) -> None:
    assert relay.post(alert(), group=group()).json() == {"delivered": list(KINDS), "failed": {}}

    for kind in KINDS:
        (text,) = vendors.texts(kind)
        for said in ("AvailabilityBurn", "availability", "2.13 %", "0.1 %", "2025-01-15 10:00:00 UTC", "a3f7b2c1"):
            assert said in text, kind
        assert text.replace("&#95;", "_").replace("\\", "").count("model_v2.3") >= 1, kind
        assert "https://runbooks/AvailabilityBurn.md" in text, kind
        assert "https://grafana/d/slo?var-slo=availability" in text, kind
        assert "http://alertmanager:9093/#/silences/new?filter=%7Balertname%3D%22AvailabilityBurn%22" in text, kind
        assert ("紧急" in text) == (kind in {"dingtalk", "feishu", "wecom"})


@pytest.mark.integration
@pytest.mark.parametrize("result", ["delivered", "failed", "refused"])
def test_delivery_metrics_are_exported_as_zero_at_start(result: str, relay: RunningRelay) -> None:
    # Prometheus sees no rise in a counter that begins above 0.
    shown = relay.at_start
    assert {kind for kind in KINDS if f'alert_delivery_total{{channel="{kind}",result="{result}"}} 0.0' in shown} == (
        set(KINDS)
    )
    assert f'alert_webhook_total{{result="{result}",source="alertmanager"}} 0.0' in shown


@pytest.mark.integration
@pytest.mark.parametrize(("kind", "fault"), FAULTS)
def test_failed_delivery_is_retried_only_on_failed_channel(
    relay: RunningRelay, vendors: Vendors, kind: str, fault: str
) -> None:
    here, failures = group(), ("failed", "refused")
    before = sum(relay.metric("alert_delivery_total", channel=kind, result=result) for result in failures)
    vendors.faults[kind] = fault

    first, second = relay.post(alert(), group=here), relay.post(alert(), group=here)

    assert (first.status_code, second.status_code) == (503, 503)
    assert set(first.json()["delivered"]) == set(second.json()["delivered"]) == others(kind)
    assert list(first.json()["failed"]) == [kind]
    after = sum(relay.metric("alert_delivery_total", channel=kind, result=result) for result in failures)
    assert after == before + 2
    vendors.faults.clear()
    assert relay.post(alert(), group=here).status_code == 200
    assert {name: len(vendors.texts(name)) for name in KINDS} == dict.fromkeys(KINDS, 1)


@pytest.mark.integration
def test_channel_endpoint_delivers_to_single_channel(relay: RunningRelay, vendors: Vendors) -> None:
    vendors.faults["slack"] = "drop"
    body = webhook(alert(), group=group())
    found = {kind: relay.http.post(f"/alertmanager/{kind}", json=body) for kind in ("slack", "wecom")}
    assert {kind: answer.status_code for kind, answer in found.items()} == {"slack": 503, "wecom": 200}
    assert found["wecom"].json() == {"delivered": ["wecom"], "failed": {}}
    vendors.faults.clear()
    assert relay.http.post("/alertmanager/slack", json=body).json() == {"delivered": ["slack"], "failed": {}}
    assert {kind: len(vendors.texts(kind)) for kind in KINDS if vendors.texts(kind)} == {"slack": 1, "wecom": 1}


@pytest.mark.integration
def test_unknown_channel_endpoint_delivers_to_all_channels(relay: RunningRelay, vendors: Vendors) -> None:
    answer = relay.http.post("/alertmanager/nobody", json=webhook(alert(), group=group()))
    assert answer.json() == {"delivered": list(KINDS), "failed": {}}
    until(lambda: any("there is no chat channel 'nobody', so the alerts" in line for line in relay.log))


@pytest.mark.integration
def test_rejection_reason_contains_vendor_error_message(relay: RunningRelay, vendors: Vendors) -> None:
    vendors.faults |= {"feishu": "refuse", "slack": "refuse"}

    failed = relay.post(alert(), group=group()).json()["failed"]

    assert failed["feishu"] == "code 19024: Key Words Not Found"
    assert "404" in failed["slack"]


@pytest.mark.integration
def test_hung_vendor_does_not_delay_other_channels(relay: RunningRelay, vendors: Vendors) -> None:
    here, answers, before = group(), [], dict(vendors.asked)
    vendors.faults |= {"wecom": "hang", "slack": "hang"}
    posting = threading.Thread(target=lambda: answers.append(relay.post(alert(), group=here)))
    posting.start()

    until(lambda: all(len(vendors.texts(kind)) == 1 for kind in set(KINDS) - {"wecom", "slack"}))
    until(lambda: all(vendors.asked.get(kind, 0) > before.get(kind, 0) for kind in ("wecom", "slack")))

    assert not answers
    vendors.faults.clear()
    posting.join(60)
    assert set(answers[0].json()["failed"]) == {"wecom", "slack"}


@pytest.mark.integration
def test_repeated_alert_is_dropped_and_only_new_alerts_are_sent(relay: RunningRelay, vendors: Vendors) -> None:
    here = group()
    relay.post(alert("a", model_version="model_v1.0"), group=here)
    assert relay.post(alert("a", model_version="model_v1.0"), group=here).status_code == 200
    assert len(vendors.texts("slack")) == 1

    relay.post(alert("a", model_version="model_v1.0"), alert("b", model_version="model_v2.0"), group=here)
    assert len(vendors.texts("slack")) == 2
    assert "model_v2.0" in vendors.texts("slack")[1]
    assert "model_v1.0" not in vendors.texts("slack")[1]


@pytest.mark.integration
def test_duplicate_alert_in_webhook_is_accepted(relay: RunningRelay, vendors: Vendors) -> None:
    here = group()
    assert relay.post(alert("a"), alert("a"), group=here).status_code == 200
    assert relay.post(alert("b"), group=here).status_code == 200
    assert [len(vendors.texts(kind)) for kind in KINDS] == [2] * len(KINDS)


@pytest.mark.integration
def test_resolved_message_has_duration(relay: RunningRelay, vendors: Vendors) -> None:
    here = group()
    relay.post(alert(), group=here)
    relay.post(alert(status="resolved"), group=here)
    relay.post(alert(), group=here)

    assert len(vendors.texts("telegram")) == 3
    told, told_in_chinese = vendors.texts("telegram")[1], vendors.texts("dingtalk")[1]
    assert "RESOLVED" in told
    assert "12 min" in told
    assert "silences" not in told
    assert "已恢复" in told_in_chinese
    assert "12 分钟" in told_in_chinese


@pytest.mark.integration
def test_message_lists_ten_alerts_and_counts_rest(relay: RunningRelay, vendors: Vendors) -> None:
    alerts = [alert(f"f{index}", model_version=f"model_v{index}.0") for index in range(14)]
    relay.post(*alerts, group=group(), truncatedAlerts=3)

    text = vendors.texts("webhook")[0]
    assert text.count("availability / model_v") == 10
    assert "+7 more" in text


@pytest.mark.integration
def test_notification_with_2000_alerts_is_delivered(relay: RunningRelay, vendors: Vendors) -> None:
    alerts = [alert(f"f{index}", model_version=f"model_v{index}.0") for index in range(2000)]
    assert relay.post(*alerts, group=group()).json()["failed"] == {}
    assert "+1990 more" in vendors.texts("webhook")[0]


@pytest.mark.integration
def test_oversized_message_is_shortened_and_delivered(relay: RunningRelay, vendors: Vendors) -> None:
    alerts = [alert(f"f{index}", model_version=f"模型_{index}" * 40, slo="*_准确率_*" * 40) for index in range(30)]
    for one in alerts:
        one["annotations"] |= {
            "summary": "准确率 *_[](){}<@everyone>`|低于目标" * 400,
            "runbook_url": "https://runbooks/" + "x" * 1900,
        }

    assert relay.post(*alerts, group=group()).json()["failed"] == {}

    for kind in KINDS:
        (text,) = vendors.texts(kind)
        assert "AvailabilityBurn" in text


@pytest.mark.integration
def test_secrets_are_redacted_in_chat_and_log(relay: RunningRelay, vendors: Vendors) -> None:
    leak = alert(alertname="Leak")
    said = f"password=hunter2 Authorization: Bearer abcdef123456 postgres://ann:pa55@db/x {vendors.url('wecom')}"
    leak["annotations"]["summary"] = said
    vendors.faults |= {"feishu": "refuse", "teams": "500", "discord": "drop"}

    answer = relay.post(leak, group=group())

    shown = "\n".join([*itertools.chain(*map(vendors.texts, KINDS)), *relay.log, answer.text])
    assert "Leak" in shown
    for secret in ("hunter2", "abcdef123456", "pa55", "-0815"):
        assert secret not in shown.replace("-0815-", "")


@pytest.mark.integration
@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"[]", "valid dictionary"),
        (b'{"version": "3"}', "version"),
        (b'{"version": "4", "groupKey": "g", "alerts": []}', "alerts"),
        (b'{"version": "4", "groupKey": "g", "alerts": [{"status": "odd"}]}', "alerts.0.status"),
    ],
)
def test_invalid_webhook_body_returns_400_with_reason(
    relay: RunningRelay, vendors: Vendors, body: bytes, problem: str
) -> None:
    before = relay.metric("alert_webhook_total", source="alertmanager", result="refused")

    answer = relay.http.post("/alertmanager", content=body, headers={"content-type": "application/json"})

    assert answer.status_code == 400
    assert problem in answer.json()["error"]
    assert relay.metric("alert_webhook_total", source="alertmanager", result="refused") == before + 1
    assert vendors.got == {}


@pytest.mark.integration
def test_missing_token_or_unsupported_request_is_rejected(relay: RunningRelay, vendors: Vendors) -> None:
    body = webhook(alert(), group=group())

    def status(content: bytes | None = None, **headers: str) -> int:
        given = {"json": body} if content is None else {"content": content}
        headers = {"content-type": "application/json", **headers}
        return relay.http.post("/alertmanager", headers=headers, **given).status_code  # type: ignore[arg-type]

    assert status(authorization="Bearer wrong") == 401
    assert status(authorization="Basic relay-token-0815") == 401
    assert status(**{"content-encoding": "gzip"}) == 415
    assert relay.http.get("/alertmanager").status_code == 405
    health = httpx.get(f"http://127.0.0.1:{relay.port}/health", trust_env=False, timeout=60).json()
    assert health["status"] == "ok"
    assert {channel["problem"] for channel in health["channels"].values()} == {None}
    assert vendors.got == {}


@pytest.mark.slow
def test_oversized_webhook_is_reported_in_every_channel(folder: Path, vendors: Vendors) -> None:
    channels = [vendors.channel("wecom", **LIVELY), vendors.channel("webhook", **LIVELY)]
    with RunningRelay(folder, channels, {"max_body_bytes": 20_000}) as small:
        assert small.post(*[alert(f"f{index}") for index in range(100)]).status_code == 413
        assert small.metric("alert_webhook_total", source="alertmanager", result="refused") == 1
        for kind in ("wecom", "webhook"):
            (text,) = vendors.texts(kind)
            assert "WebhookTooLarge" in text
            assert "20000" in text
        vendors.faults["wecom"] = "drop"
        answer = small.http.post("/prefect", content=b"x" * 20_001)
        assert answer.status_code == 503
        assert list(answer.json()["failed"]) == ["wecom"]


@pytest.mark.slow
def test_sigterm_waits_for_started_deliveries(folder: Path, vendors: Vendors) -> None:
    answers: list[httpx.Response] = []
    with RunningRelay(folder, [vendors.channel("wecom", **LIVELY)]) as relay:
        vendors.faults["wecom"] = "wait"
        posting = threading.Thread(target=lambda: answers.append(relay.post(alert())))
        asked = vendors.asked.get("wecom", 0)
        posting.start()
        until(lambda: vendors.asked.get("wecom", 0) > asked)
        relay.process.terminate()
        vendors.faults.clear()
        posting.join(60)

        assert answers[0].json()["delivered"] == ["wecom"]
        assert relay.process.wait(60) == 0
    assert "stopped" in relay.log[-1]
