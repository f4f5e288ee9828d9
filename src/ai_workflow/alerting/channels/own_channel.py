"""Channels of a team's own code: a function or class that sends one message, called in a thread of its own."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import math
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from ai_workflow.alerting.channels import vendor_delays
from ai_workflow.alerting.channels.channel import DeliveryError, RateLimitedError
from ai_workflow.alerting.messages.markup import PLAIN, Style
from ai_workflow.alerting.messages.notification import Alert, Notification
from ai_workflow.alerting.messages.rendering import render
from ai_workflow.alerting.messages.sanitize import clean
from ai_workflow.errors import StageError
from ai_workflow.plugins import names, objects
from ai_workflow.plugins.names import CodePath
from ai_workflow.secret_values import scrub

_KEY = "chat.kind"
_DOCS = "See docs/own-code.md#chat-channels"
# Calls that do not return keep their thread. With this number of them, messages fail at once.
_MAX_CALLS = 4


@dataclass(frozen=True, slots=True)
class AlertMessage:
    """A message of a channel.

    Args:
        title: one line.
        text: lines without markup, in the language of the channel.
        severity: the worst severity that fires (page, ticket, chat), or resolved.
        alerts: all alerts of the message; those of `key` in a later message are the same alert.
    """

    title: str
    text: str
    severity: str
    alerts: tuple[Alert, ...]


class AlertChannel(Protocol):
    """A channel; the class is called with `params` of the channel, and with `url` and `secret` if they are set.

    A function with the parameter `message` and these keyword arguments is a channel, too.
    """

    def send(self, message: AlertMessage) -> float | None:
        """Send one message; return the seconds in which no other one may follow, if any.

        An exception means that the message was not delivered; `RateLimitedError` that it is to be sent again later.
        """


class OwnBackend:
    """Client of a channel of own code; every failure is a DeliveryError with its file and line.

    Args:
        kind: module:name, or the name of an entry point.
        arguments: keyword arguments of the class or function.
        style: language and time zone of the messages.

    Raises:
        StageError: the code is not found or fails, is no channel, or does not accept the arguments.
    """

    def __init__(self, kind: str, arguments: dict[str, Any], style: Style) -> None:
        path = code_path(kind)
        self._label, self._style = f"{_KEY} {path}", style
        _, code = objects.load(path, _KEY)
        _check(self._label, code, arguments)
        self._connect: Callable[[], Callable[[AlertMessage], Any]]
        if isinstance(code, type):
            self._connect = lambda: code(**arguments).send
        else:
            self._connect = lambda: partial(code, **arguments)
        self._location = objects.location_of(getattr(code, "send", code))
        self._send: Callable[[AlertMessage], Any] | None = None
        self._calls: list[threading.Thread] = []

    async def send(self, notification: Notification) -> float | None:
        """Send one message.

        Raises:
            DeliveryError: the code raised, or earlier calls have not returned.
        """
        self._calls = [thread for thread in self._calls if thread.is_alive()]
        if len(self._calls) >= _MAX_CALLS:
            raise DeliveryError(f"{self._label}: {len(self._calls)} earlier calls have not returned")
        loop = asyncio.get_running_loop()
        result: asyncio.Future[float | None] = loop.create_future()
        # A daemon thread, because one that hangs must not keep the relay from stopping.
        thread = threading.Thread(target=self._run, args=(notification, loop, result), daemon=True)
        self._calls.append(thread)
        thread.start()
        try:
            return await result
        except asyncio.CancelledError:
            # The object is still in use by the call that hangs: the next message gets a new one.
            self._send = None
            raise

    async def close(self) -> None:
        """Forget the object of the class; its calls end with the process."""
        self._send = None

    def _run(self, notification: Notification, loop: asyncio.AbstractEventLoop, result: asyncio.Future[Any]) -> None:
        delay, problem = None, None
        try:
            delay = self._call(notification, result)
        except DeliveryError as error:
            problem = error
        except BaseException as error:
            problem = DeliveryError(clean(scrub(str(error) or type(error).__name__), 300))

        def finish() -> None:
            if result.done():
                return
            if problem is None:
                result.set_result(delay)
            else:
                result.set_exception(problem)

        # The loop is closed if the relay stopped in the meantime.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(finish)

    def _call(self, notification: Notification, result: asyncio.Future[Any]) -> float | None:
        message = render(notification, self._style.language, self._style.zone)
        send = self._send
        try:
            with objects.calls(self._label, "the channel"):
                send = send or self._connect()
                if not result.cancelled():
                    self._send = send
                delay = send(
                    AlertMessage(message.title, PLAIN.lines(message.lines), message.severity, notification.alerts)
                )
        except RateLimitedError as error:
            raise RateLimitedError(clean(scrub(str(error)), 300), _seconds(error.seconds)) from error
        if delay is None:
            return None
        if isinstance(delay, bool) or not isinstance(delay, int | float):
            raise StageError(
                f"{self._label}{self._location}: it returned {type(delay).__name__}",
                "Raise an exception if the message was not delivered, else return None or seconds",
            )
        return _seconds(delay)


def code_path(kind: str) -> CodePath:
    """Return the path of a channel.

    Raises:
        AiWorkflowError: no entry point has this name.
    """
    return names.required_path("channels", kind, f"{_KEY}: there is no channel")


def _seconds(value: float) -> float:
    """Return a delay from 0 to the longest one that a vendor may demand."""
    return min(vendor_delays.MAX_SECONDS, max(0.0, float(value))) if math.isfinite(value) else vendor_delays.MAX_SECONDS


def _check(label: str, code: Any, arguments: dict[str, Any]) -> None:
    is_class = isinstance(code, type)
    if not callable(code) or (is_class and not callable(getattr(code, "send", None))):
        lack = "a class without a method send" if is_class else type(code).__name__
        raise StageError(f"{label} is {lack}, not a channel", _DOCS)
    try:
        inspect.signature(code).bind(*(() if is_class else (None,)), **arguments)
        if is_class:
            inspect.signature(code.send).bind(None, None)
    except TypeError as error:
        place = objects.location_of(code.__init__ if is_class else code)
        given = ", ".join(arguments) or "none"
        raise StageError(
            f"{label}{place} does not accept the arguments of the channel ({given}): {error}",
            "Correct chat.params, or the code",
        ) from error
    except ValueError:
        pass
