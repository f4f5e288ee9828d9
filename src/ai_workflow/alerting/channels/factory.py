"""Creation of chat backends from the configured channels."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pydantic import ValidationError

from ai_workflow.alerting.channels import http_channel, own_channel, urls
from ai_workflow.alerting.channels.channel import ChatBackend
from ai_workflow.alerting.channels.dingtalk import DingTalk
from ai_workflow.alerting.channels.feishu import Feishu
from ai_workflow.alerting.channels.wecom import WeCom
from ai_workflow.alerting.messages.markup import Style
from ai_workflow.config.settings.chat import KINDS, Channel
from ai_workflow.errors import AiWorkflowError
from ai_workflow.secret_values import Fetch

FetchBlock = Callable[[str], Mapping[str, Any] | None]


def create_backend(channel: Channel, fetch: Fetch | None = None, fetch_block: FetchBlock | None = None) -> ChatBackend:
    """Return the client of a channel; it connects with the first message.

    Args:
        channel: settings of the channel.
        fetch: returns a secret before the environment is read, or None.
        fetch_block: returns kind, url and secret of a ChatChannel block by its name.

    Raises:
        AiWorkflowError: a secret or block is missing, or the URL does not belong to the vendor. The URL is not shown.
    """
    try:
        return _backend(_with_block(channel, fetch_block), fetch)
    except AiWorkflowError as error:
        raise AiWorkflowError(f"chat channel '{channel.name}': {error}") from None


def _with_block(channel: Channel, fetch_block: FetchBlock | None) -> Channel:
    """Return the channel with the values of its ChatChannel block."""
    if channel.block is None:
        return channel
    block = fetch_block(channel.block) if fetch_block else None
    if block is None:
        raise AiWorkflowError(
            f"there is no ChatChannel block '{channel.block}'. Create it in Prefect, or set kind and url"
        )
    own = {name: getattr(channel, name) for name in channel.model_fields_set - {"block"}}
    try:
        return Channel.model_validate({**own, **block})
    except ValidationError as error:
        problems = "; ".join(
            problem["msg"].removeprefix("Value error, ")
            for problem in error.errors(include_input=False, include_url=False)
        )
        raise AiWorkflowError(f"block '{channel.block}': {problems}") from None


def _backend(channel: Channel, fetch: Fetch | None) -> ChatBackend:
    assert channel.kind is not None
    if channel.kind not in KINDS:
        return _own_backend(channel.kind, channel, fetch)
    assert channel.url is not None
    url = channel.url.reveal(fetch).strip()
    # Revealed secrets are masked in all logs.
    secret = channel.secret.reveal(fetch) if channel.secret else None
    style = Style(channel.language, channel.timezone)
    timeout = channel.timeout_seconds
    if channel.kind == "apprise":
        # The import of Apprise is slow.
        from ai_workflow.alerting.channels import apprise_channel

        return apprise_channel.create_backend(url, style, channel.name, timeout)
    urls.check(channel.kind, url)
    if channel.kind not in {"feishu", "dingtalk", "wecom"}:
        return urls.create_backend(channel.kind, url, secret, style, timeout)
    if channel.kind == "wecom":
        return WeCom(url, style, http_channel.client(timeout))
    return (Feishu if channel.kind == "feishu" else DingTalk)(url, secret, style, http_channel.client(timeout))


def _own_backend(kind: str, channel: Channel, fetch: Fetch | None) -> ChatBackend:
    """Return the client of own code, whose arguments are `params`, and `url` and `secret` if they are set."""
    secrets = {"url": channel.url, "secret": channel.secret}
    revealed = {name: secret.reveal(fetch) for name, secret in secrets.items() if secret}
    style = Style(channel.language, channel.timezone)
    return own_channel.OwnBackend(kind, {**channel.params, **revealed}, style)
