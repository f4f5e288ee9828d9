"""The Webhook block by which automations reach the alert relay: its address and its token, kept by Prefect."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import httpx
from prefect.blocks.system import Secret as SecretBlock
from prefect.blocks.webhook import Webhook
from pydantic import SecretStr

from ai_workflow.config.settings import Settings
from ai_workflow.prefect_errors import is_cloud

NAME = "alert-relay"
# Where the relay listens on every address, the server of the same machine reaches it here.
_ANY = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}  # noqa: S104 - compared, never bound


@dataclass(frozen=True, slots=True)
class RelayBlock:
    """The block's id, and what was done, a line or none."""

    id: UUID
    done: list[str]


async def token(settings: Settings) -> str | None:
    """Return the relay's bearer token, or None if it asks for none.

    Raises:
        MissingSecretError: it is named, and neither a Secret block nor the environment has it.
    """
    secret = settings.relay.token
    if secret is None:
        return None
    known: str | None = None
    if secret.name is not None:
        try:
            known = str((await SecretBlock.aload(secret.name)).get())  # type: ignore[attr-defined]
        except ValueError:
            known = None
    return secret.reveal(lambda _: known)


def url(settings: Settings) -> str:
    """Return where Prefect's server reaches the relay."""
    relay = settings.relay
    host = _ANY.get(relay.host, f"[{relay.host}]" if ":" in relay.host else relay.host)
    return settings.deploy.relay_url or f"http://{host}:{relay.port}/prefect"


def unreachable(settings: Settings, api_url: str) -> str | None:
    """Return a warning if Prefect Cloud is to call a relay in a private network; None else."""
    address = url(settings)
    if not is_cloud(api_url) or not _is_private(httpx.URL(address).host):
        return None
    return (
        f"Prefect Cloud cannot reach the relay at {address}: runs that fail, crash or are late are not sent to a chat. "
        "Set deploy.relay_url to an https address that Prefect Cloud reaches, or use automations of Prefect Cloud"
    )


def _is_private(host: str) -> bool:
    try:
        return not ipaddress.ip_address(host.strip("[]")).is_global
    except ValueError:
        return "." not in host or host.endswith((".local", ".internal", ".localhost"))


async def apply(settings: Settings, relay_token: str | None) -> RelayBlock:
    """Make the block, or change it where it differs; its token is never shown."""
    headers = {"content-type": "application/json"}
    headers |= {"authorization": f"Bearer {relay_token}"} if relay_token else {}
    want = Webhook(method="POST", url=SecretStr(url(settings)), headers=headers)
    found: Any
    try:
        found = await Webhook.aload(NAME)
    except ValueError:
        found = None
    if found is not None and _said(found) == _said(want):
        return RelayBlock(found._block_document_id, [])
    block_id = await want.save(NAME, overwrite=True)
    return RelayBlock(UUID(str(block_id)), [f"block webhook/{NAME}: {'made' if found is None else 'changed'}"])


def _said(block: Webhook) -> tuple[str, str, dict[str, str]]:
    headers = block.headers.get_secret_value()
    return block.method, block.url.get_secret_value(), {key.lower(): str(value) for key, value in headers.items()}
