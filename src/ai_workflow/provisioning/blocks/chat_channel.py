"""The Block type of a chat channel: where a bot writes to, kept by Prefect instead of in a file."""

from __future__ import annotations

from typing import Any, Literal

from prefect.blocks.core import Block
from prefect.blocks.webhook import Webhook
from pydantic import Field, HttpUrl, SecretStr


class ChatChannel(Block):
    """A chat that alerts are told in; `chat: [{name: …, block: NAME}]` of the configuration names it."""

    _block_type_name = "ChatChannel"
    _block_type_slug = "chat-channel"
    _description = (
        "A chat that the alert relay writes to: Slack, Teams, Discord, Telegram, Feishu, DingTalk, WeCom, a webhook "
        "of your own, or any Apprise address. Name the block in the configuration as `chat: [{name: …, block: NAME}]`; "
        "values are read when an alert is told, and shown nowhere."
    )
    # A webhook is what each of them is; Prefect hosts the picture.
    _logo_url = HttpUrl(str(Webhook._logo_url))
    # Prefect's page on blocks: these docs travel with the repository, which has no address of its own.
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
        title="Kind", description="Which vendor's protocol the chat speaks."
    )
    url: SecretStr = Field(title="URL", description="The bot's address, as the vendor shows it.")
    secret: SecretStr | None = Field(
        default=None, title="Secret", description="Signs messages (feishu, dingtalk); of a webhook, its bearer token."
    )

    def settings(self) -> dict[str, Any]:
        """Return kind, url and secret as the configuration would give them; the values are in plain text."""
        found: dict[str, Any] = {"kind": self.kind, "url": self.url.get_secret_value()}
        return found | ({"secret": self.secret.get_secret_value()} if self.secret else {})
