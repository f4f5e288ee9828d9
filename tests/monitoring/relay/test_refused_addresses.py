"""Addresses and answers with which an alert would be lost without a message."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from ai_workflow.alerting.channels.channel import DeliveryError, RateLimitedError, RejectedError
from ai_workflow.alerting.channels.factory import create_backend
from ai_workflow.config.settings import Channel
from ai_workflow.errors import AiWorkflowError
from tests.monitoring.relay.fake_vendors import Vendors
from tests.monitoring.relay.test_chat_vendors import send, trusted  # noqa: F401 - a fixture
from tests.monitoring.relay.vendor_protocols import SAYS_NO

PAGERS = {
    "pagerduty": f"pagerduty://{'a' * 32}@{'b' * 32}", "opsgenie": "opsgenie://aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee",
    "jira": "jira://aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee", "pagertree": "pagertree://int_abcdefghij",
    "signl4": "signl4://secret1234", "spike": f"spike://{'a' * 32}", "splunk": "splunk://route@aaaaaaaa-bbbb/",
    "victorops": "VictorOps://route@aaaaaaaa-bbbb/",
}  # fmt: skip


@pytest.mark.parametrize("scheme", PAGERS)
def test_incident_management_url_is_rejected_with_alternative(scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValidationError, match=r"would not close.*receiver of Alertmanager instead: \w+_configs"):
        Channel.model_validate({"name": "pager", "kind": "apprise", "url": PAGERS[scheme]})


@pytest.mark.parametrize("scheme", ["pagerduty", "opsgenie"])
def test_incident_management_url_in_secret_is_rejected(scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAGER_URL", PAGERS[scheme])
    channel = Channel.model_validate({"name": "pager", "kind": "apprise", "url": "${secret:pager-url}"})
    with pytest.raises(AiWorkflowError, match=f"chat channel 'pager': url {scheme}:// opens incidents"):
        create_backend(channel)


@pytest.mark.parametrize("url", ["ntfy://a, ntfy://b", "ntfy://a ntfy://b", "json://a/x;json://b/x"])
def test_multiple_urls_in_secret_are_rejected(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAGER_URL", url)
    channel = Channel.model_validate({"name": "pager", "kind": "apprise", "url": "${secret:pager-url}"})
    with pytest.raises(AiWorkflowError, match="chat channel 'pager': url holds several addresses"):
        create_backend(channel)


@pytest.mark.parametrize("name", ["REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"])
@pytest.mark.parametrize("content", [None, "no certificate"])
def test_unreadable_ca_bundle_is_rejected(
    name: str, content: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = tmp_path / "authorities.pem"
    if content is not None:
        bundle.write_text(content)
    channel = Channel.model_validate({"name": "team", "kind": "webhook", "url": "https://example.com/x"})
    monkeypatch.delenv("REQUESTS_CA_BUNDLE", raising=False)
    monkeypatch.setenv(name, str(bundle))
    with pytest.raises(AiWorkflowError, match=f"{name}: the certificates in {bundle} cannot be read"):
        create_backend(channel)


@pytest.mark.integration
def test_telegram_error_names_migrated_chat_id(vendors: Vendors, monkeypatch: pytest.MonkeyPatch) -> None:
    vendors.faults["telegram"] = "refuse"
    answer = {
        "ok": False, "error_code": 400, "parameters": {"migrate_to_chat_id": -100200300},
        "description": "Bad Request: group chat was upgraded to a supergroup chat",
    }  # fmt: skip
    monkeypatch.setitem(SAYS_NO["telegram"], "refuse", (400, {}, json.dumps(answer).encode()))
    with pytest.raises(RejectedError, match=r"chat_id=-100200300 in its url\. HTTP 400"):
        send(vendors.channel("telegram"))


@pytest.mark.integration
@pytest.mark.usefixtures("trusted")
@pytest.mark.parametrize(
    ("kind", "answer", "expected"),
    [
        (
            "teams",
            "Webhook message delivery failed with error: endpoint returned HTTP error 413 with ContextId 1",
            RejectedError,
        ),
        (
            "teams",
            "Webhook message delivery failed with error: endpoint returned HTTP error 429 with ContextId 1",
            RateLimitedError,
        ),
        ("teams", "Webhook message delivery failed with error: endpoint returned HTTP error 502", DeliveryError),
        ("teams", "<html>maintenance</html>", DeliveryError),
        ("discord", "<html>maintenance</html>", DeliveryError),
        ("telegram", '{"ok": false}', DeliveryError),
        ("slack", "no_text", RejectedError),
    ],
)
def test_error_in_http_200_response_raises_delivery_error(
    vendors: Vendors, monkeypatch: pytest.MonkeyPatch, kind: str, answer: str, expected: type[DeliveryError]
) -> None:
    vendors.faults[kind] = "refuse"
    monkeypatch.setitem(SAYS_NO[kind], "refuse", (200, {}, answer.encode()))
    with pytest.raises(DeliveryError) as refused:
        send(vendors.channel(kind))
    assert type(refused.value) is expected


@pytest.mark.integration
@pytest.mark.usefixtures("trusted")
@pytest.mark.parametrize("answer", ["", "1", '{"status": "posted"}'])
def test_teams_http_200_success_is_accepted(vendors: Vendors, monkeypatch: pytest.MonkeyPatch, answer: str) -> None:
    vendors.faults["teams"] = "refuse"
    monkeypatch.setitem(SAYS_NO["teams"], "refuse", (200, {}, answer.encode()))
    send(vendors.channel("teams"))
