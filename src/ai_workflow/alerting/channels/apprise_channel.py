"""Whatever Apprise knows an address for: plain text, in which nothing opens a mention."""

from __future__ import annotations

import asyncio
import logging
import re
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ai_workflow.alerting.channels import rate_limits, watched_requests
from ai_workflow.alerting.channels.channel import Refused, TooFast, Undelivered
from ai_workflow.alerting.channels.urls import BadAddress
from ai_workflow.alerting.channels.webhook import TYPES
from ai_workflow.alerting.messages.inert import plain
from ai_workflow.alerting.messages.markup import PLAIN, TELEGRAM, Style, fitted
from ai_workflow.alerting.messages.notification import Notice
from ai_workflow.alerting.messages.rendering import Text
from ai_workflow.alerting.messages.sanitize import clean, clip
from ai_workflow.config.settings import chat_urls, pagers

_STATUS = re.compile(r"error=(\d{3})")
_MAX_CHARACTERS = 1900
# Some plugins send the title as part of the body.
_TITLE_CHARACTERS = 150
_NAME = "ai-workflow"


class ThroughApprise:
    """One chat that Apprise writes to, in a thread of its own: Apprise waits for the vendor.

    Args:
        notifier: Apprise's plugin, made for the chat.
        style: language and time zone.
        name: of the channel.
    """

    def __init__(self, notifier: Any, style: Style, name: str) -> None:
        self._notifier, self._style = notifier, style
        # Apprise posts every text to Telegram as HTML.
        self._markup = TELEGRAM if "tgram" in pagers.schemes(notifier) else PLAIN
        self._most = max(1, min(_MAX_CHARACTERS, int(notifier.body_maxlen) - _TITLE_CHARACTERS))
        if int(notifier.body_maxlen) <= 2 * _TITLE_CHARACTERS:
            self._most = int(notifier.body_maxlen)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"chat-{name}")

    async def send(self, notice: Notice) -> None:
        """Send one message.

        Raises:
            Undelivered: it is not known to have arrived.
        """
        text = await asyncio.to_thread(
            fitted, notice, self._style, lambda text: len(self._markup.lines(text.lines)) <= self._most
        )
        await asyncio.get_running_loop().run_in_executor(self._thread, self._send, text)

    async def close(self) -> None:
        """End the thread, once it is done."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _send(self, text: Text) -> None:
        from apprise import NotifyType

        title, body = self._texts(text)
        reasons: list[str] = []
        with _listening(reasons.append), watched_requests.watched() as answers:
            # Not `notify`: it would convert and split what is fitted and escaped already.
            if self._notifier.send(body=body, title=title, notify_type=NotifyType(TYPES.get(text.grave, "warning"))):
                return
        problem = clean("; ".join(reasons) or "not taken", 300)
        found = _STATUS.search(problem)
        status = int(found[1]) if found else 0
        if answers.too_fast or status == 429:
            wait = answers.seconds if answers.seconds is not None else rate_limits.DEFAULT_SECONDS
            raise TooFast(problem, wait)
        raise (Refused if 200 <= status < 500 and status != 408 else Undelivered)(problem)

    def _texts(self, text: Text) -> tuple[str, str]:
        """Return title and body; where a vendor has no title, the body begins with it already."""
        longest = int(self._notifier.title_maxlen)
        title = clip(plain(text.title), longest) if longest > 0 else ""
        return title, self._markup.lines(text.lines) or self._markup.escape(clip(text.title, self._most // 2))


def opened(url: str, style: Style, name: str, seconds: float) -> ThroughApprise:
    """Return what writes to an address of Apprise.

    Raises:
        BadAddress: Apprise does not know the address, or it is one of incident management.
    """
    from apprise import Apprise, AppriseAsset, NotifyFormat

    # Without Apprise's name, pictures and links.
    asset = AppriseAsset(
        app_id=_NAME, app_desc=_NAME, app_url="", image_url_mask="", image_url_logo="", image_path_mask=""
    )
    if problem := chat_urls.refusal_of_apprise(url):
        raise BadAddress(problem)
    notifier: Any = Apprise.instantiate(url, asset=asset, suppress_exceptions=True)
    assert notifier is not None
    # Markdown or HTML would read the texts of alerts as markup, and look for mentions in them.
    notifier.notify_format = NotifyFormat.TEXT
    notifier.redirects = False
    notifier.socket_connect_timeout, notifier.socket_read_timeout = seconds / 3, seconds / 2
    watched_requests.install()
    return ThroughApprise(notifier, style, name)


class _listening(logging.Handler):  # noqa: N801 - used as a function
    """Collects what Apprise logs in this thread: nothing else has the reason why a message was not taken."""

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
