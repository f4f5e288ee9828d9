"""Channels of Apprise: plain text without mentions, for every URL scheme that Apprise supports."""

from __future__ import annotations

import asyncio
import logging
import re
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ai_workflow.alerting.channels import response_capture, vendor_delays
from ai_workflow.alerting.channels.channel import DeliveryError, RateLimitedError, RejectedError
from ai_workflow.alerting.channels.urls import ChannelURLError
from ai_workflow.alerting.channels.webhook import TYPES
from ai_workflow.alerting.messages.markup import PLAIN, TELEGRAM, Style, fit_to_limit
from ai_workflow.alerting.messages.neutralize import neutralize_all
from ai_workflow.alerting.messages.notification import Notification
from ai_workflow.alerting.messages.rendering import Message
from ai_workflow.alerting.messages.sanitize import clean, clip
from ai_workflow.config.settings import chat_urls, pagers

_STATUS = re.compile(r"error=(\d{3})")
_MAX_CHARACTERS = 1900
# Some plugins send the title as part of the body.
_TITLE_CHARACTERS = 150
_NAME = "ai-workflow"


class AppriseBackend:
    """Client of a chat through Apprise, in its own thread because Apprise blocks.

    Args:
        notifier: Apprise plugin of the chat.
        style: language and time zone.
        name: name of the channel.
    """

    def __init__(self, notifier: Any, style: Style, name: str) -> None:
        self._notifier, self._style = notifier, style
        # Apprise sends every text to Telegram as HTML.
        self._markup = TELEGRAM if "tgram" in pagers.schemes(notifier) else PLAIN
        self._max_characters = max(1, min(_MAX_CHARACTERS, int(notifier.body_maxlen) - _TITLE_CHARACTERS))
        if int(notifier.body_maxlen) <= 2 * _TITLE_CHARACTERS:
            self._max_characters = int(notifier.body_maxlen)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"chat-{name}")

    async def send(self, notification: Notification) -> None:
        """Send one message.

        Raises:
            DeliveryError: the vendor did not confirm the message.
        """
        message = await asyncio.to_thread(
            fit_to_limit,
            notification,
            self._style,
            lambda message: len(self._markup.lines(message.lines)) <= self._max_characters,
        )
        await asyncio.get_running_loop().run_in_executor(self._thread, self._send, message)

    async def close(self) -> None:
        """Stop the thread after the current message."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _send(self, message: Message) -> None:
        from apprise import NotifyType

        title, body = self._texts(message)
        reasons: list[str] = []
        with _captured_logs(reasons.append), response_capture.capture() as responses:
            # `notify` would convert and split the escaped text.
            if self._notifier.send(
                body=body, title=title, notify_type=NotifyType(TYPES.get(message.severity, "warning"))
            ):
                return
        problem = clean("; ".join(reasons) or "not accepted", 300)
        match = _STATUS.search(problem)
        status = int(match[1]) if match else 0
        if responses.is_rate_limited or status == 429:
            wait = responses.seconds if responses.seconds is not None else vendor_delays.DEFAULT_SECONDS
            raise RateLimitedError(problem, wait)
        raise (RejectedError if 200 <= status < 500 and status != 408 else DeliveryError)(problem)

    def _texts(self, message: Message) -> tuple[str, str]:
        """Return title and body.

        The body begins with the title, so vendors without a title show it as well.
        """
        max_characters = int(self._notifier.title_maxlen)
        title = clip(neutralize_all(message.title), max_characters) if max_characters > 0 else ""
        return title, self._markup.lines(message.lines) or self._markup.escape(
            clip(message.title, self._max_characters // 2)
        )


def create_backend(url: str, style: Style, name: str, timeout_seconds: float) -> AppriseBackend:
    """Return the client of an Apprise URL.

    Raises:
        ChannelURLError: Apprise does not support the URL, or it belongs to an incident management service.
    """
    from apprise import Apprise, AppriseAsset, NotifyFormat

    # Without the name, images and links of Apprise.
    asset = AppriseAsset(
        app_id=_NAME, app_desc=_NAME, app_url="", image_url_mask="", image_url_logo="", image_path_mask=""
    )
    if problem := chat_urls.refusal_of_apprise(url):
        raise ChannelURLError(problem)
    notifier: Any = Apprise.instantiate(url, asset=asset, suppress_exceptions=True)
    assert notifier is not None
    # With Markdown or HTML, alert texts would be parsed for markup and mentions.
    notifier.notify_format = NotifyFormat.TEXT
    notifier.redirects = False
    notifier.socket_connect_timeout, notifier.socket_read_timeout = timeout_seconds / 3, timeout_seconds / 2
    response_capture.install()
    return AppriseBackend(notifier, style, name)


class _captured_logs(logging.Handler):  # noqa: N801 - used as a function
    """Collector of log messages of Apprise in this thread, the only source of the reason for a failure."""

    def __init__(self, collect: Callable[[str], None]) -> None:
        super().__init__(logging.WARNING)
        self._collect, self._thread = collect, threading.get_ident()

    def emit(self, record: logging.LogRecord) -> None:
        if record.thread == self._thread:
            self._collect(record.getMessage())

    def __enter__(self) -> None:
        logging.getLogger("apprise").addHandler(self)

    def __exit__(self, *_: object) -> None:
        logging.getLogger("apprise").removeHandler(self)
