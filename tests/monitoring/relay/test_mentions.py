"""Nothing in an alert mentions a person, runs a command or is a link, whichever vendor shows it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs

import orjson
import pytest
import requests
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ai_workflow.alerting import alertmanager_webhook, prefect_webhook
from ai_workflow.alerting.channels.channel import ChatBackend
from ai_workflow.alerting.channels.factory import create_backend
from ai_workflow.alerting.messages.notification import Notification
from ai_workflow.config.settings import Channel
from tests.monitoring.relay import mention_oracles
from tests.monitoring.relay.fake_vendors import KINDS, Vendors
from tests.monitoring.relay.mention_oracles import ORACLES
from tests.monitoring.relay.running_relay import alert, webhook
from tests.monitoring.relay.test_chat_vendors import trusted  # noqa: F401 - a fixture

HOSTILE = [
    "@all", "@room", "@channel", "@everyone", "@ops_team", "@here", "＠all", "@**all**", "@13800000000",
    "<!here>", "<!subteam^S1|x>", "<@U024BE7LH>", "<#C1>", "<@!99>", "<@&31>", "</deploy:12>", "<@all>", "<users/all>",
    "<at id=all></at>", "<at>Ann</at>", '<a href="tg://user?id=1">x</a>', "</b>", "(met)all(met)", "[CQ:at,qq=all]",
    "/stop", "/restart@some_bot", "#incident", "$TSLA", "~town-square", "+1 212 555 0123", "[click](https://evil.example)",
    "[click]: https://evil.example", "](https://evil.example)", "https://evil.example/x", "HTTP://evil.example",
    "evil.example", "www.evil.example/y", "tg://resolve?domain=x", "ann@evil.example", "mailto:ann@evil.example",
    "javascript:alert(1)", "\\", "\\\\", "`", "```", "*", "_", "|", ">", "&lt;@all&gt;", "&#60;", "\u200b", "\u2060",
    "\n", " ", "x", "-", "1.", "\u202e", "\ufeff",
]  # fmt: skip
TEXTS = st.lists(st.sampled_from(HOSTILE) | st.text(max_size=4), max_size=6).map("".join)
ADDRESSES = st.builds(
    lambda user, path, query, fragment: f"https://{user}grafana.test/{path}?q={query}#{fragment}",
    st.sampled_from(["", "@all@", "ann:pw@", "<!here>@"]), TEXTS, TEXTS, TEXTS,
)  # fmt: skip
LABELS = ("alertname", "slo", "stage", "pipeline", "flow", "model_version", "feature", "window", "job", "severity")
NOTES = ("summary", "description", "value", "objective", "unit", "trace_id")


@st.composite
def notifications(draw: st.DrawFn) -> Notification:
    if draw(st.integers(0, 4)) == 0:
        fields = ("automation", "name", "flow", "deployment", "state", "message", "resource")
        body = {
            "event": draw(TEXTS) or "e",
            "event_id": "1",
            "occurred": "2025-01-15T10:00:00Z",
            "url": draw(ADDRESSES),
        }
        return prefect_webhook.parse(json.dumps(body | {name: draw(TEXTS) for name in fields}).encode())
    alerts = []
    for index in range(draw(st.integers(1, 3))):
        one = alert(str(index), draw(st.sampled_from(["firing", "resolved"])))
        one["labels"] = {name: draw(TEXTS) for name in LABELS} | {draw(TEXTS): draw(TEXTS)}
        one["annotations"] = {name: draw(TEXTS) for name in NOTES}
        one["annotations"] |= {f"{name}_url": draw(ADDRESSES) for name in ("runbook", "dashboard", "run")}
        alerts.append(one)
    return alertmanager_webhook.parse(json.dumps(webhook(*alerts, externalURL=draw(ADDRESSES))).encode())


class Wire:
    """Vendors that are written to over loopback, in one event loop."""

    def __init__(self, fakes: Vendors) -> None:
        self.loop, self.fakes = asyncio.new_event_loop(), fakes
        self.vendors: dict[str, ChatBackend] = {
            kind: create_backend(Channel.model_validate(fakes.channel(kind, timeout_seconds=60))) for kind in KINDS
        }

    def problems(self, notification: Notification) -> dict[str, list[str]]:
        """Send a notification to all vendors, and return what their oracles object to."""
        self.fakes.got.clear()
        self.loop.run_until_complete(self._send(notification))
        found = {kind: list(ORACLES[kind](self.fakes.got[kind][0])) for kind in KINDS}
        return {kind: problems for kind, problems in found.items() if problems}

    async def _send(self, notification: Notification) -> None:
        await asyncio.gather(*(vendor.send(notification) for vendor in self.vendors.values()))

    def close(self) -> None:
        for vendor in self.vendors.values():
            self.loop.run_until_complete(vendor.close())
        self.loop.close()


@pytest.fixture
def wire(vendors: Vendors, trusted: None) -> Iterator[Wire]:  # noqa: F811
    found = Wire(vendors)
    yield found
    found.close()


_SHARED = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]


@pytest.mark.integration
@given(notification=notifications())
@settings(max_examples=15, deadline=None, suppress_health_check=_SHARED)
def test_alert_contains_no_mention_command_or_link(wire: Wire, notification: Notification) -> None:
    assert wire.problems(notification) == {}


@pytest.mark.soak
@given(notification=notifications())
@settings(max_examples=300, deadline=None, suppress_health_check=_SHARED)
def test_generated_alerts_contain_no_mention_command_or_link(wire: Wire, notification: Notification) -> None:
    assert wire.problems(notification) == {}


@pytest.mark.integration
@pytest.mark.parametrize("kind", KINDS)
def test_mention_oracle_detects_vendor_markup(kind: str, wire: Wire) -> None:
    wire.problems(alertmanager_webhook.parse(orjson.dumps(webhook(alert()))))
    body = wire.fakes.got[kind][0]
    assert list(ORACLES[kind](body)) == []
    raw = json.dumps(body).replace("availability", "<@all> [x](https://evil.example) @everyone /stop")
    assert list(ORACLES[kind](json.loads(raw)))


APPRISE = [
    "mmost://127.0.0.1/token1234567890", "rocket://token12345/token67890@127.0.0.1/#ops", "ntfy://127.0.0.1/topic",
    f"discord://4711/{'t' * 64}", f"slack://T1JJ3T3L2/A1BRTD4JD/{'T' * 24}/#ops",
    f"tgram://123456789:{'t' * 35}/-1001/",
    f"workflows://x.logic.azure.com:443/{'a' * 32}/{'s' * 40}/", "gotify://127.0.0.1/token12345", "json://127.0.0.1/x",
    f"webex://{'a' * 80}/", "zulip://bot@org/" + "a" * 32 + "/general/", "gchat://space/key/token",
]  # fmt: skip


@pytest.mark.integration
@pytest.mark.parametrize("url", APPRISE, ids=lambda url: url.partition(":")[0])
def test_apprise_messages_contain_no_mention(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    bodies: list[str] = []

    def send(_: requests.Session, request: requests.PreparedRequest, **__: Any) -> requests.Response:
        bodies.append(request.body.decode() if isinstance(request.body, bytes) else str(request.body))
        answer = requests.Response()
        answer.status_code, answer._content = 200, b"ok"
        return answer

    monkeypatch.setattr(requests.Session, "send", send)
    one = alert(pipeline=" ".join(HOSTILE[:30]), feature="/stop evil.example #incident", slo="@everyone <@&31>")
    one["annotations"] |= {"summary": " ".join(HOSTILE), "dashboard_url": "https://g.test/?u=@everyone&v=<@&31>#!here"}
    vendor = create_backend(Channel.model_validate({"name": "any", "kind": "apprise", "url": url}))
    asyncio.run(vendor.send(alertmanager_webhook.parse(orjson.dumps(webhook(one)))))

    assert bodies
    for body in bodies:
        texts = [text for text in _texts(body) if "AvailabilityBurn" in text or "stop" in text or "everyone" in text]
        assert texts
        if url.startswith("tgram"):
            assert list(mention_oracles.telegram({"text": "\n".join(texts)})) == []
        else:
            assert list(mention_oracles.unknown(*texts)) == []


def _texts(body: str) -> Iterator[str]:
    try:
        found = json.loads(body)
    except ValueError:
        found = parse_qs(body) or body
    stack: list[Any] = [found]
    while stack:
        value = stack.pop()
        if isinstance(value, str):
            yield value
        elif isinstance(value, dict):
            stack += [each for key, each in value.items() if key not in ("channel", "chat_id", "$schema")]
        elif isinstance(value, list):
            stack += value
