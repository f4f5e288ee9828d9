"""The Webhook block with the URL and the token of the alert relay, used by automations."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import httpx
from prefect.blocks.webhook import Webhook
from pydantic import SecretStr

from ai_workflow.config.settings import Settings
from ai_workflow.orchestration import owner_label, secret_blocks
from ai_workflow.prefect_errors import is_cloud

NAME = "alert-relay"
# Addresses at which the server on the same machine reaches a relay that listens on all interfaces.
_ANY = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}  # noqa: S104 - compared, never bound


@dataclass(frozen=True, slots=True)
class RelayBlock:
    """The ID of the block, and the changes."""

    id: UUID
    changes: list[str]


async def token(settings: Settings) -> str | None:
    """Return the bearer token of the relay, or None if it requires none.

    Raises:
        MissingSecretError: neither a Secret block nor the environment has the token.
    """
    secret = settings.relay.token
    if secret is None:
        return None
    value = await secret_blocks.aload(secret.name) if secret.name is not None else None
    return secret.reveal(lambda _: value)


def url(settings: Settings) -> str:
    """Return the URL of the relay for the Prefect server."""
    relay = settings.relay
    host = _ANY.get(relay.host, f"[{relay.host}]" if ":" in relay.host else relay.host)
    return settings.deploy.relay_url or f"http://{host}:{relay.port}/prefect"


def unreachable(settings: Settings, api_url: str) -> str | None:
    """Return a warning if the server is Prefect Cloud and the relay is in a private network, else None."""
    relay_url = url(settings)
    if not is_cloud(api_url) or not _is_private(httpx.URL(relay_url).host):
        return None
    return (
        f"Prefect Cloud cannot reach the relay at {relay_url}: runs that fail, crash or are late are not sent to "
        "a chat. "
        "Set deploy.relay_url to an https address that Prefect Cloud reaches, or use automations of Prefect Cloud"
    )


def _is_private(host: str) -> bool:
    try:
        return not ipaddress.ip_address(host.strip("[]")).is_global
    except ValueError:
        return "." not in host or host.endswith((".local", ".internal", ".localhost"))


async def apply(settings: Settings, relay_token: str | None, label: str) -> RelayBlock:
    """Create the block of an owner, or update it if it differs; the token is not shown."""
    name = owner_label.name(NAME, label)
    headers = {"content-type": "application/json"}
    headers |= {"authorization": f"Bearer {relay_token}"} if relay_token else {}
    declared = Webhook(method="POST", url=SecretStr(url(settings)), headers=headers)
    current: Any
    try:
        current = await Webhook.aload(name)
    except ValueError:
        current = None
    if current is not None and _comparable(current) == _comparable(declared):
        return RelayBlock(current._block_document_id, [])
    block_id = await declared.save(name, overwrite=True)
    return RelayBlock(UUID(str(block_id)), [f"block webhook/{name}: {'made' if current is None else 'changed'}"])


def _comparable(block: Webhook) -> tuple[str, str, dict[str, str]]:
    headers = block.headers.get_secret_value()
    return block.method, block.url.get_secret_value(), {key.lower(): str(value) for key, value in headers.items()}
