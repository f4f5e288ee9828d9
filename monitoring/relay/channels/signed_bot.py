"""A bot that answers 200 whatever happens, and says in the body whether it took the message: its common part."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx
import orjson

from monitoring.relay.channels.vendor import Refused, TooFast, Undelivered
from monitoring.relay.clean import clean

_LONGEST_PAUSE = 60.0
_MOST_ANSWER = 64 * 1024


@dataclass(frozen=True, slots=True)
class Codes:
    """How a vendor says no: where the code stands in its answer, and which codes mean what.

    Args:
        names: the fields that may hold the code, 0 for success.
        message: the fields that may hold its words.
        too_fast: codes of a rate limit, and the seconds it lasts.
        passing: codes of trouble on the vendor's side.
    """

    names: tuple[str, ...]
    message: tuple[str, ...]
    too_fast: Mapping[int, float]
    passing: frozenset[int]


async def post(client: httpx.AsyncClient, url: str, body: Mapping[str, Any], codes: Codes) -> None:
    """Post a message, and return if the vendor says that it has it.

    Raises:
        Undelivered: it does not, or says nothing that can be understood.
    """
    try:
        answer = await client.post(url, content=orjson.dumps(body), headers={"content-type": "application/json"})
    except httpx.HTTPError as error:
        raise Undelivered(f"not reached: {type(error).__name__}") from None
    if answer.status_code == 429:
        raise TooFast("HTTP 429", _retry_after(answer))
    if answer.status_code != 200:
        kind = Refused if 300 <= answer.status_code < 500 and answer.status_code != 408 else Undelivered
        raise kind(f"HTTP {answer.status_code}: {clean(answer.text, 200)}")
    _judge(answer, codes)


def size(body: Mapping[str, Any]) -> int:
    """Return the bytes that a body is posted as."""
    return len(orjson.dumps(body))


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
        raise TooFast(f"code {code}: {words}", codes.too_fast[code])
    raise (Undelivered if code in codes.passing else Refused)(f"code {code}: {words}")


def _retry_after(answer: httpx.Response) -> float:
    try:
        return min(_LONGEST_PAUSE, max(1.0, float(answer.headers.get("retry-after", ""))))
    except ValueError:
        return 6.0
