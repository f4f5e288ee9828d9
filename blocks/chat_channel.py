"""The Block type of a chat channel: where a bot writes to, kept by Prefect instead of in a file."""

from __future__ import annotations

from typing import Any, Literal

from prefect.blocks.core import Block
from pydantic import Field, SecretStr


class ChatChannel(Block):
    """A chat that alerts are told in; `chat: [{name: …, block: NAME}]` of the configuration names it."""

    _block_type_name = "ChatChannel"
    _block_type_slug = "chat-channel"
    _description = "A chat that the alert relay writes to."

    kind: Literal["slack", "teams", "discord", "telegram", "webhook", "apprise", "feishu", "dingtalk", "wecom"]
    url: SecretStr = Field(description="The bot's address, as the vendor shows it.")
    secret: SecretStr | None = Field(
        default=None, description="Signs messages (feishu, dingtalk); of a webhook, its bearer token."
    )

    def settings(self) -> dict[str, Any]:
        """Return kind, url and secret as the configuration would give them; the values are in plain text."""
        found: dict[str, Any] = {"kind": self.kind, "url": self.url.get_secret_value()}
        return found | ({"secret": self.secret.get_secret_value()} if self.secret else {})
