"""Where alerts are taken, and the chat channels they are told in."""

from __future__ import annotations

import ipaddress
from typing import Annotated, ClassVar, Literal
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, Field, model_validator

from ai_workflow.config.settings import chat_urls
from ai_workflow.config.settings.config_model import ConfigModel, Host, Name, Scope
from ai_workflow.secret_values import Secret

Kind = Literal["slack", "teams", "discord", "telegram", "webhook", "apprise", "feishu", "dingtalk", "wecom"]
Severity = Literal["page", "ticket", "chat"]
SEVERITIES: tuple[Severity, ...] = ("page", "ticket", "chat")
# What a `secret` is to them: the key that a message is signed with, or the bearer token it is sent with.
TAKE_SECRET = frozenset({"feishu", "dingtalk", "webhook"})


def _known_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise ValueError("must be a time zone such as UTC or Asia/Shanghai") from None
    return name


class Channel(ConfigModel):
    """One chat channel: a bot's address, and what is told there."""

    scope: ClassVar[Scope] = "deployment"
    name: Name
    block: Name | None = Field(default=None, description="a ChatChannel block that holds kind, url and secret")
    kind: Kind | None = None
    url: Secret | None = Field(default=None, description="as the vendor shows it: who knows it may write there")
    secret: Secret | None = Field(default=None, description="signs messages; of a webhook, its bearer token")
    language: Literal["en", "zh"] = "en"
    timezone: Annotated[str, AfterValidator(_known_zone)] = "UTC"
    severities: tuple[Severity, ...] = Field(default=SEVERITIES, min_length=1)
    per_minute: int = Field(default=20, ge=1, description="messages; what is more is merged, never dropped")
    timeout_seconds: float = Field(default=8, gt=0, le=60)

    @model_validator(mode="after")
    def _says_where(self) -> Channel:
        if self.block is None and (self.kind is None or self.url is None):
            raise ValueError("give `kind` and `url`, or the `block` that holds them")
        if self.block is not None and (self.kind or self.url or self.secret):
            raise ValueError("`block` holds kind, url and secret already; remove them here, or the block")
        if self.secret is not None and self.kind is not None and self.kind not in TAKE_SECRET:
            raise ValueError(f"secret is not for {self.kind}: what proves who sends is part of its url")
        if (literal := self.literal_url) is not None and (problem := chat_urls.refusal(str(self.kind), literal)):
            raise ValueError(problem)
        return self

    @property
    def literal_url(self) -> str | None:
        """The url, None if it is a secret or in a block: the relay checks those when it opens the channel."""
        return None if self.url is None or self.url.name is not None else self.url.reveal().strip()


class Relay(ConfigModel):
    """What takes webhooks from Alertmanager and Prefect, and tells the channels."""

    scope: ClassVar[Scope] = "deployment"
    host: Host = "127.0.0.1"
    port: int = Field(default=9110, ge=0, le=65535, description="0: any that is free")
    token: Secret | None = Field(default=None, description="bearer token of those who post alerts")
    # What is too large Alertmanager does not send again: a group of some thousand alerts must pass.
    max_body_bytes: int = Field(default=32_000_000, ge=1024)
    answer_seconds: float = Field(default=20, gt=0, description="how long a sender waits at most for its answer")
    remind_seconds: float = Field(
        default=300, ge=0, description="the same alerts sooner than this are a retry, later a reminder"
    )

    @model_validator(mode="after")
    def _open_to_others_only_with_token(self) -> Relay:
        if self.token is not None and self.token.is_empty:
            raise ValueError("token must not be empty: anyone could post alerts")
        if self.token is None and not self._is_loopback:
            raise ValueError(
                f"relay.host {self.host} can be reached from other machines: set relay.token, or 127.0.0.1"
            )
        return self

    @property
    def _is_loopback(self) -> bool:
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"
