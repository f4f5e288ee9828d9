"""Bots that always respond with HTTP 200 and report errors in the body."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx
import orjson

from ai_workflow.alerting.channels import http_channel, vendor_delays
from ai_workflow.alerting.channels.channel import DeliveryError, RateLimitedError, RejectedError
from ai_workflow.alerting.messages.sanitize import clean

_MAX_RESPONSE_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class ErrorCodes:
    """Error codes of a vendor.

    Args:
        code_fields: fields that may have the code; 0 is success.
        message_fields: fields that may have the message.
        rate_limits: codes of a rate limit, with its minimum delay in seconds.
        transient: codes of temporary errors of the vendor.
    """

    code_fields: tuple[str, ...]
    message_fields: tuple[str, ...]
    rate_limits: Mapping[int, float]
    transient: frozenset[int]


async def post(client: httpx.AsyncClient, url: str, body: Mapping[str, Any], codes: ErrorCodes) -> None:
    """Post a message, and check the code in the response.

    Raises:
        DeliveryError: the code is not 0, or is missing.
    """
    response = await http_channel.post(client, url, body)
    if response.status_code != 200:
        raise DeliveryError(f"HTTP {response.status_code}: {clean(response.text, 200)}")
    _check(response, codes)


def _check(response: httpx.Response, codes: ErrorCodes) -> None:
    try:
        content = orjson.loads(response.content[:_MAX_RESPONSE_BYTES])
    except orjson.JSONDecodeError:
        content = None
    fields = content if isinstance(content, dict) else {}
    code = next((fields[name] for name in codes.code_fields if name in fields), None)
    if not isinstance(code, int):
        raise DeliveryError(f"HTTP 200 without a result code: {clean(response.text, 200)}")
    if code == 0:
        return
    message = next((clean(fields[name], 200) for name in codes.message_fields if fields.get(name)), "")
    if code in codes.rate_limits:
        wait = vendor_delays.seconds(response.headers, response.content)
        raise RateLimitedError(f"code {code}: {message}", max(codes.rate_limits[code], wait or 0.0))
    raise (DeliveryError if code in codes.transient else RejectedError)(f"code {code}: {message}")
