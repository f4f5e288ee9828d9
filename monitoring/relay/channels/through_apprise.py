"""Slack, Teams, Discord, Telegram, any webhook, and whatever else Apprise knows an address for."""

from __future__ import annotations

import asyncio
import logging
import re
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal

from monitoring.relay.channels.vendor import Refused, TooFast, Undelivered
from monitoring.relay.clean import clean
from monitoring.relay.markup import Markup, Style, fitted
from monitoring.relay.notice import Notice
from monitoring.relay.rendering import Text

_STATUS = re.compile(r"error=(\d{3})")
_TYPES = {"page": "failure", "ticket": "warning", "chat": "info", "resolved": "success"}


@dataclass(frozen=True, slots=True)
class Form:
    """What a vendor takes.

    Args:
        markup: how it writes bold and links.
        most: how large a message may be, markup included.
        title: whether it has a place of its own for the title, and reads that as `plain` text or as `markup`.
        size: how large a message is; characters, if not said otherwise.
    """

    markup: Markup
    most: int
    title: Literal["plain", "markup", "none"] = "plain"
    size: Callable[[str], int] = len

    def said(self, text: Text) -> tuple[str, str]:
        """Return the title and the body of a message."""
        body = self.markup.lines(text.lines) or self.markup.escape(text.title)
        if self.title == "plain":
            return text.title, body
        title = self.markup.escape(text.title)
        return (
            (title, body) if self.title == "markup" else ("", self.markup.bold.format(title) + self.markup.end + body)
        )


class ThroughApprise:
    """One chat that Apprise writes to, in a thread of its own: Apprise waits for the vendor.

    Args:
        notifier: Apprise's plugin, made for the chat.
        form: what the vendor takes.
        name: of the channel.
    """

    def __init__(self, notifier: Any, form: Form, style: Style, name: str) -> None:
        self._notifier, self._form, self._style = notifier, form, style
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"chat-{name}")

    async def send(self, notice: Notice) -> None:
        """Send one message.

        Raises:
            Undelivered: it is not known to have arrived.
        """
        text = fitted(notice, self._style, lambda text: self._form.size(self._form.said(text)[1]) <= self._form.most)
        await asyncio.get_running_loop().run_in_executor(self._thread, self._send, text)

    async def close(self) -> None:
        """End the thread, once it is done."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _send(self, text: Text) -> None:
        from apprise import NotifyType

        title, body = self._form.said(text)
        said: list[str] = []
        with _listening(said.append):
            # Not `notify`: it would convert and split what is fitted and escaped already.
            if self._notifier.send(body=body, title=title, notify_type=NotifyType(_TYPES.get(text.grave, "warning"))):
                return
        problem = clean("; ".join(said) or "not taken", 300)
        found = _STATUS.search(problem)
        status = int(found[1]) if found else 0
        if status == 429:
            raise TooFast(problem, 6.0)
        # Slack answers 200 and a body other than `ok`; where no one was reached there is no status at all.
        raise (Refused if 200 <= status < 500 and status != 408 else Undelivered)(problem)


class _listening(logging.Handler):  # noqa: N801 - used as a function
    """Hears what Apprise logs in this thread: it says why a message was not taken nowhere else."""

    def __init__(self, hear: Callable[[str], None]) -> None:
        super().__init__(logging.WARNING)
        self._hear, self._thread = hear, threading.get_ident()

    def emit(self, record: logging.LogRecord) -> None:
        if record.thread == self._thread:
            self._hear(record.getMessage())

    def __enter__(self) -> None:
        logging.getLogger("apprise").addHandler(self)

    def __exit__(self, *_: object) -> None:
        logging.getLogger("apprise").removeHandler(self)
