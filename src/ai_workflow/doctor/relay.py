"""Check of alerts: whether the relay answers, and its channels receive messages."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import httpx

from ai_workflow.alerting import routing
from ai_workflow.doctor import service
from ai_workflow.doctor.context import Address, Context
from ai_workflow.doctor.finding import Finding
from ai_workflow.secret_values import MissingSecretError

_PAGE = "docs/chat.md"


def check(context: Context) -> Iterator[Finding]:
    """Yield why alerts do not reach their channels."""
    address = context.relay
    channels = [channel.name for channel in context.loaded.settings.chat] if context.loaded else []
    if context.spec:
        for problem in routing.problems(channels):
            yield Finding("warning", problem, "chat, channels of monitoring/slo.yaml", f"Correct one of them ({_PAGE})")
    try:
        body = service.request(f"{address.url}/health", _token(context)).json()
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        yield service.unanswered(address, "the alert relay", "ai-workflow relay", error, "--relay")
        return
    if not isinstance(body, dict) or not isinstance(body.get("channels"), dict):
        remedy = "Correct --relay, or restart a relay of an earlier release"
        yield Finding("unknown", "the relay does not report its channels", address.url, remedy)
        return
    if not body["channels"] and address.is_expected:
        what = "no chat channel is configured: alerts are only shown by Prometheus and Alertmanager"
        yield Finding("warning", what, address.url, f"Add a channel to chat ({_PAGE})")
    for name, state in body["channels"].items():
        yield from _channel(name, state, address)


def _token(context: Context) -> str | None:
    """Return the token of the configured relay, None for another one, or if its value is not in the environment."""
    token = context.loaded.settings.relay.token if context.loaded else None
    if token is None or context.options.relay is not None:
        return None
    try:
        return token.reveal()
    except MissingSecretError:
        return None


def _channel(name: str, state: dict[str, Any], address: Address) -> Iterator[Finding]:
    if state.get("failing_since") is None:
        return
    problem = state.get("problem") or "the reason is in the log of the relay"
    what = f"alerts do not reach the channel {name}: {problem}"
    remedy = f"Correct the channel in chat or its vendor, then send a test alert ({_PAGE})"
    yield Finding("error", what, address.url, remedy, datetime.fromtimestamp(state["failing_since"], UTC))
