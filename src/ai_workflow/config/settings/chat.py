"""Settings of the alert relay and of chat channels."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, Field, model_validator

from ai_workflow.config.settings import chat_urls
from ai_workflow.config.settings.config_model import ConfigModel, Host, Name, Scope
from ai_workflow.plugins import names
from ai_workflow.secret_values import Secret

# Kinds of this package.
KINDS = ("slack", "teams", "discord", "telegram", "webhook", "apprise", "feishu", "dingtalk", "wecom")
Severity = Literal["page", "ticket", "chat"]
SEVERITIES: tuple[Severity, ...] = ("page", "ticket", "chat")
# Kinds with a `secret`: the key that signs messages, or the bearer token.
KINDS_WITH_SECRET = frozenset({"feishu", "dingtalk", "webhook"})


def _known_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise ValueError("must be a time zone such as UTC or Asia/Shanghai") from None
    return name


class Channel(ConfigModel):
    """A chat channel: URL of a bot, and the alerts that it receives."""

    scope: ClassVar[Scope] = "deployment"
    name: Name
    block: Name | None = Field(default=None, description="a ChatChannel block that holds kind, url and secret")
    kind: str | None = Field(default=None, description="a vendor, or own code as module:name")
    url: Secret | None = Field(
        default=None, description="URL as shown by the vendor; it permits posting to the channel"
    )
    secret: Secret | None = Field(default=None, description="signs messages; for kind webhook, the bearer token")
    params: dict[str, Any] = Field(default_factory=dict, description="keyword arguments of own code")
    language: Literal["en", "zh"] = "en"
    timezone: Annotated[str, AfterValidator(_known_zone)] = "UTC"
    severities: tuple[Severity, ...] = Field(default=SEVERITIES, min_length=1)
    pipelines: tuple[Name, ...] = Field(
        default=(), description="only alerts about these pipelines; alerts about all, and about none, if empty"
    )
    per_minute: int = Field(default=20, ge=1, description="messages per minute; more alerts are merged, never dropped")
    timeout_seconds: float = Field(default=8, gt=0, le=60)

    @model_validator(mode="after")
    def _check_target(self) -> Channel:
        if self.kind is not None and (problem := names.problem("channels", self.kind, KINDS)):
            raise ValueError(f"kind {problem}")
        is_own = self.kind is not None and self.kind not in KINDS
        if self.params and not is_own:
            raise ValueError("params is for own code only. Remove params")
        if self.block is None and (self.kind is None or (self.url is None and not is_own)):
            raise ValueError("give `kind` and `url`, or the `block` that holds them")
        if self.block is not None and (self.kind or self.url or self.secret):
            raise ValueError("`block` holds kind, url and secret already; remove them here, or the block")
        if is_own:
            return self
        if self.secret is not None and self.kind is not None and self.kind not in KINDS_WITH_SECRET:
            raise ValueError(f"secret is not for {self.kind}, whose url authenticates the sender. Remove secret")
        if (literal := self.literal_url) is not None and (problem := chat_urls.refusal(str(self.kind), literal)):
            raise ValueError(problem)
        return self

    @property
    def literal_url(self) -> str | None:
        """The url, None if it is a secret or in a block, which the relay checks when it opens the channel."""
        return None if self.url is None or self.url.name is not None else self.url.reveal().strip()


def unrouted_severities(channels: Sequence[Channel]) -> list[Severity]:
    """Return the severities whose channels all list `pipelines`, so that alerts about no pipeline reach none."""
    return [
        severity
        for severity in SEVERITIES
        if (accepting := [channel for channel in channels if severity in channel.severities])
        and all(channel.pipelines for channel in accepting)
    ]


class Relay(ConfigModel):
    """The alert relay: receives webhooks of Alertmanager and Prefect, and posts to chat channels."""

    scope: ClassVar[Scope] = "deployment"
    host: Host = "127.0.0.1"
    port: int = Field(default=9110, ge=0, le=65535, description="0 for any free port")
    token: Secret | None = Field(default=None, description="bearer token of senders of alerts")
    # Alertmanager does not retry a rejected body, so a group of several thousand alerts must be accepted.
    max_body_bytes: int = Field(default=32_000_000, ge=1024)
    answer_seconds: float = Field(default=20, gt=0, description="longest time until a sender gets its response")
    remind_seconds: float = Field(
        default=300, ge=0, description="equal alerts within this time are a retry, later ones a reminder"
    )

    @model_validator(mode="after")
    def _check_token(self) -> Relay:
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
