"""The channels of the configuration -> vendors that can be written to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pydantic import ValidationError

from ai_workflow.alerting.channels import http_channel, urls
from ai_workflow.alerting.channels.channel import Vendor
from ai_workflow.alerting.channels.dingtalk import DingTalk
from ai_workflow.alerting.channels.feishu import Feishu
from ai_workflow.alerting.channels.wecom import WeCom
from ai_workflow.alerting.messages.markup import Style
from ai_workflow.config.settings.chat import Channel
from ai_workflow.errors import AiWorkflowError
from ai_workflow.secret_values import Fetch

FetchBlock = Callable[[str], Mapping[str, Any] | None]


def opened(channel: Channel, fetch: Fetch | None = None, fetch_block: FetchBlock | None = None) -> Vendor:
    """Return the vendor of a channel; connections are made when there is something to say.

    Args:
        channel: as configured.
        fetch: where secrets come from before the environment.
        fetch_block: gives kind, url and secret of a ChatChannel block by its name.

    Raises:
        AiWorkflowError: a secret or block is missing, or the url is not one of the vendor; the url is not shown.
    """
    try:
        return _vendor(_filled(channel, fetch_block), fetch)
    except AiWorkflowError as error:
        raise AiWorkflowError(f"chat channel '{channel.name}': {error}") from None


def _filled(channel: Channel, fetch_block: FetchBlock | None) -> Channel:
    if channel.block is None:
        return channel
    found = fetch_block(channel.block) if fetch_block else None
    if found is None:
        raise AiWorkflowError(
            f"there is no ChatChannel block '{channel.block}'. Create it in Prefect, or give kind and url here"
        )
    own = {name: getattr(channel, name) for name in channel.model_fields_set - {"block"}}
    try:
        return Channel.model_validate({**own, **found})
    except ValidationError as error:
        said = "; ".join(
            problem["msg"].removeprefix("Value error, ")
            for problem in error.errors(include_input=False, include_url=False)
        )
        raise AiWorkflowError(f"block '{channel.block}': {said}") from None


def _vendor(channel: Channel, fetch: Fetch | None) -> Vendor:
    assert channel.kind is not None
    assert channel.url is not None
    url = channel.url.reveal(fetch).strip()
    # What is revealed is masked wherever it is shown.
    secret = channel.secret.reveal(fetch) if channel.secret else None
    style = Style(channel.language, channel.timezone)
    seconds = channel.timeout_seconds
    if channel.kind == "apprise":
        # Apprise takes long to import.
        from ai_workflow.alerting.channels import apprise_channel

        return apprise_channel.opened(url, style, channel.name, seconds)
    urls.check(channel.kind, url)
    if channel.kind not in {"feishu", "dingtalk", "wecom"}:
        return urls.bot(channel.kind, url, secret, style, seconds)
    if channel.kind == "wecom":
        return WeCom(url, style, http_channel.client(seconds))
    return (Feishu if channel.kind == "feishu" else DingTalk)(url, secret, style, http_channel.client(seconds))
