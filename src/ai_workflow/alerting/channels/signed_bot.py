"""A bot that answers 200 whatever happens, and says in the body whether it took the message: its common part."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx
import orjson

from ai_workflow.alerting.channels import http_channel, rate_limits
from ai_workflow.alerting.channels.channel import Refused, TooFast, Undelivered
from ai_workflow.alerting.messages.sanitize import clean

_MOST_ANSWER = 64 * 1024


@dataclass(frozen=True, slots=True)
class Codes:
    """How a vendor says no: where the code stands in its answer, and which codes mean what.

    Args:
        names: the fields that may hold the code, 0 for success.
        message: the fields that may hold its words.
        too_fast: codes of a rate limit, and the seconds that it lasts where the answer does not name them.
        passing: codes of trouble on the vendor's side.
    """

    names: tuple[str, ...]
    message: tuple[str, ...]
    too_fast: Mapping[int, float]
    passing: frozenset[int]


async def post(client: httpx.AsyncClient, url: str, body: Mapping[str, Any], codes: Codes) -> None:
    """Post a message, and return if the vendor's answer has the code of success.

    Raises:
        Undelivered: it has another code, or none.
    """
    answer = await http_channel.post(client, url, body)
    if answer.status_code != 200:
        raise Undelivered(f"HTTP {answer.status_code}: {clean(answer.text, 200)}")
    _judge(answer, codes)


def _judge(answer: httpx.Response, codes: Codes) -> None:
    try:
        said = orjson.loads(answer.content[:_MOST_ANSWER])
    except orjson.JSONDecodeError:
        said = None
    found = [said[name] for name in codes.names if name in said] if isinstance(said, dict) else []
    if not found or not isinstance(found[0], int):
        raise Undelivered(f"HTTP 200, but no code that says it was taken: {clean(answer.text, 200)}")
    code = found[0]
    if code == 0:
        return
    words = next((clean(said[name], 200) for name in codes.message if said.get(name)), "")
    if code in codes.too_fast:
        wait = rate_limits.seconds(answer.headers, answer.content)
        raise TooFast(f"code {code}: {words}", max(codes.too_fast[code], wait or 0.0))
    raise (Undelivered if code in codes.passing else Refused)(f"code {code}: {words}")
