"""The block type of a chat channel, whose URL and secret Prefect stores encrypted."""

from __future__ import annotations

from typing import Any, Literal

from prefect.blocks.core import Block
from prefect.blocks.webhook import Webhook
from pydantic import Field, HttpUrl, SecretStr


class ChatChannel(Block):
    """A chat channel that receives alerts; `chat: [{name: …, block: NAME}]` of the configuration refers to it."""

    _block_type_name = "ChatChannel"
    _block_type_slug = "chat-channel"
    _description = (
        "A chat channel of the alert relay: Slack, Teams, Discord, Telegram, Feishu, DingTalk, WeCom, your own "
        "webhook, or any Apprise URL. Name the block in the configuration as `chat: [{name: …, block: NAME}]`; "
        "values are read when an alert is sent, and never shown."
    )
    # Prefect hosts the image.
    _logo_url = HttpUrl(str(Webhook._logo_url))
    # Prefect's page about blocks, because the documentation of this project has no public URL.
    _documentation_url = HttpUrl("https://docs.prefect.io/v3/concepts/blocks")
    _code_example = """```python
from ai_workflow.provisioning.blocks.chat_channel import ChatChannel

ChatChannel(kind="feishu", url="https://…", secret="…").save("on-call")
```

In the configuration of the relay (docs/chat.md):

```yaml
chat:
  - {name: on-call, block: on-call}
```"""

    kind: Literal["slack", "teams", "discord", "telegram", "webhook", "apprise", "feishu", "dingtalk", "wecom"] = Field(
        title="Kind", description="The chat vendor."
    )
    url: SecretStr = Field(title="URL", description="The URL of the bot, as shown by the vendor.")
    secret: SecretStr | None = Field(
        default=None, title="Secret", description="Signs messages (feishu, dingtalk); of a webhook, its bearer token."
    )

    @classmethod
    async def aread(cls, name: str) -> dict[str, Any] | None:
        """Return the settings of a block, or None if there is no such block."""
        try:
            channel: ChatChannel = await cls.aload(name)
        except ValueError:
            return None
        return channel.settings()

    def settings(self) -> dict[str, Any]:
        """Return kind, url and secret as in the configuration; the values are in plain text."""
        fields: dict[str, Any] = {"kind": self.kind, "url": self.url.get_secret_value()}
        return fields | ({"secret": self.secret.get_secret_value()} if self.secret else {})
