"""What chat vendors ask of a message, and how they answer: the documented protocols, told from the vendors' side."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs, urlsplit

DINGTALK_SECRET = "SEC-ding-0815"
FEISHU_SECRET = "feishu-0815"
WEBHOOK_TOKEN = "webhook-token-0815"
_HOUR = 3600

Answer = tuple[int, dict[str, str], bytes]


def _json(status: int, body: object) -> Answer:
    return status, {"content-type": "application/json"}, json.dumps(body).encode()


def _query(handler: BaseHTTPRequestHandler) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(handler.path).query).items()}


def _dingtalk(handler: BaseHTTPRequestHandler, body: dict[str, Any], raw: bytes) -> Answer | None:
    """The signature is of `timestamp\\nsecret` under the secret; it holds for an hour; 20 000 bytes are allowed."""
    query = _query(handler)
    said = f"{query.get('timestamp')}\n{DINGTALK_SECRET}".encode()
    wanted = base64.b64encode(hmac.digest(DINGTALK_SECRET.encode(), said, "sha256")).decode()
    if query.get("access_token") != "ding-token-0815":
        return _json(200, {"errcode": 300005, "errmsg": "token is not exist"})
    if query.get("sign") != wanted or abs(time.time() - int(query["timestamp"]) / 1000) > _HOUR:
        return _json(200, {"errcode": 310000, "errmsg": "sign not match"})
    if len(raw) > 20_000:
        return _json(200, {"errcode": 460101, "errmsg": "message too long"})
    markdown = body["markdown"]
    good = body["msgtype"] == "markdown" and markdown["title"] and markdown["text"]
    return None if good else _json(200, {"errcode": 400101, "errmsg": "bad message"})


def _feishu(handler: BaseHTTPRequestHandler, body: dict[str, Any], raw: bytes) -> Answer | None:
    """The signature is of nothing, under `timestamp\\nsecret`; it holds for an hour."""
    mac = hmac.new(f"{body.get('timestamp')}\n{FEISHU_SECRET}".encode(), digestmod=hashlib.sha256)
    wanted = base64.b64encode(mac.digest()).decode()
    if body.get("sign") != wanted or abs(time.time() - int(body["timestamp"])) > _HOUR:
        said = "sign match fail or timestamp is not within one hour from current time"
        return _json(200, {"code": 19021, "data": {}, "msg": said})
    if len(raw) > 20_480:
        return _json(200, {"code": 9499, "data": {}, "msg": "Bad Request"})
    card = body["card"]
    good = body["msg_type"] == "interactive" and card["header"]["title"]["tag"] == "plain_text" and card["elements"]
    return None if good else _json(200, {"code": 9499, "msg": "Bad Request", "data": {}})


def _wecom(handler: BaseHTTPRequestHandler, body: dict[str, Any], raw: bytes) -> Answer | None:
    if _query(handler).get("key") != "wecom-key-0815":
        return _json(200, {"errcode": 93000, "errmsg": "invalid webhook url"})
    if body["msgtype"] != "markdown" or len(body["markdown"]["content"].encode()) > 4096:
        return _json(200, {"errcode": 40058, "errmsg": "markdown.content exceed max length 4096"})
    return None


def _units(text: str) -> int:
    """Chats count as JavaScript does: an emoji is two."""
    return len(text.encode("utf-16-le")) // 2


def _slack(handler: BaseHTTPRequestHandler, body: dict[str, Any], raw: bytes) -> Answer | None:
    blocks = body["attachments"][0]["blocks"]
    bad = [one for one in blocks if _units(one["text"]["text"]) > (150 if one["type"] == "header" else 3000)]
    return (400, {}, b"invalid_attachments") if bad else None


def _discord(handler: BaseHTTPRequestHandler, body: dict[str, Any], raw: bytes) -> Answer | None:
    embed = body["embeds"][0]
    bad = _units(embed["description"]) > 4096 or _units(embed["title"]) > 256 or body.get("content")
    return _json(400, {"message": "Invalid Form Body", "code": 50035}) if bad else None


def _telegram(handler: BaseHTTPRequestHandler, body: dict[str, Any], raw: bytes) -> Answer | None:
    if str(body["chat_id"]) != "-1001" or body["parse_mode"] != "HTML" or not 0 < _units(body["text"]) <= 4096:
        return _json(400, {"ok": False, "error_code": 400, "description": "Bad Request: chat not found"})
    return None


def _teams(handler: BaseHTTPRequestHandler, body: dict[str, Any], raw: bytes) -> Answer | None:
    if _query(handler).get("sig") != "teams-signature-0815":
        return _json(401, {"error": {"code": "DirectApiAuthorizationRequired"}})
    card = body["attachments"][0]
    bad = card["contentType"] != "application/vnd.microsoft.card.adaptive" or len(raw) > 28_000
    return _json(400, {"error": {"code": "BadRequest"}}) if bad else None


def _webhook(handler: BaseHTTPRequestHandler, body: dict[str, Any], raw: bytes) -> Answer | None:
    known = handler.headers["authorization"] == f"Bearer {WEBHOOK_TOKEN}" and _query(handler) == {"room": "7"}
    return None if known else (403, {}, b"who are you")


PROTOCOLS: dict[str, Callable[[BaseHTTPRequestHandler, dict[str, Any], bytes], Answer | None]] = {
    "dingtalk": _dingtalk, "feishu": _feishu, "wecom": _wecom, "slack": _slack, "discord": _discord,
    "telegram": _telegram, "teams": _teams, "webhook": _webhook,
}  # fmt: skip
KINDS = tuple(PROTOCOLS)
YES: dict[str, Answer] = {
    "dingtalk": _json(200, {"errcode": 0, "errmsg": "ok"}),
    "feishu": _json(200, {"StatusCode": 0, "StatusMessage": "success", "code": 0, "data": {}, "msg": "success"}),
    "wecom": _json(200, {"errcode": 0, "errmsg": "ok"}),
    "slack": (200, {"content-type": "text/html"}, b"ok"),
    "discord": (204, {}, b""),
    "telegram": _json(200, {"ok": True, "result": {"message_id": 7}}),
    "teams": (202, {}, b""),
    "webhook": (200, {}, b"thanks"),
}
SAYS_NO: dict[str, dict[str, Answer]] = {
    "dingtalk": {
        "refuse": _json(200, {"errcode": 310000, "errmsg": "keywords not in content"}),
        "throttle": _json(200, {"errcode": 130101, "errmsg": "send too fast, exceed 20 times per minute"}),
    },
    "feishu": {
        "refuse": _json(200, {"code": 19024, "data": {}, "msg": "Key Words Not Found"}),
        "throttle": _json(200, {"code": 11232, "data": {}, "msg": "frequency limited"}),
    },
    "wecom": {
        "refuse": _json(200, {"errcode": 93000, "errmsg": "invalid webhook url"}),
        "throttle": _json(200, {"errcode": 45009, "errmsg": "api freq out of limit"}),
    },
    "slack": {"refuse": (404, {}, b"no_service"), "throttle": (429, {"retry-after": "1"}, b"rate_limited")},
    "discord": {
        "refuse": _json(404, {"message": "Unknown Webhook", "code": 10015}),
        "throttle": _json(429, {"message": "You are being rate limited.", "retry_after": 1.0, "global": False}),
    },
    "telegram": {
        "refuse": _json(401, {"ok": False, "error_code": 401, "description": "Unauthorized"}),
        "throttle": _json(429, {"ok": False, "error_code": 429, "parameters": {"retry_after": 1}}),
    },
    "teams": {"refuse": _json(404, {"error": {"code": "WorkflowNotFound"}}), "throttle": (429, {}, b"")},
    "webhook": {"refuse": (410, {}, b"gone"), "throttle": (429, {}, b"")},
}
TEXTS: dict[str, Callable[[dict[str, Any]], str]] = {
    "dingtalk": lambda body: f"{body['markdown']['title']}\n{body['markdown']['text']}",
    "feishu": lambda body: f"{body['card']['header']['title']['content']}\n{body['card']['elements'][0]['content']}",
    "wecom": lambda body: str(body["markdown"]["content"]),
    "slack": lambda body: "\n".join(block["text"]["text"] for block in body["attachments"][0]["blocks"]),
    "discord": lambda body: f"{body['embeds'][0]['title']}\n{body['embeds'][0]['description']}",
    "telegram": lambda body: str(body["text"]),
    "teams": lambda body: "\n".join(part["text"] for part in body["attachments"][0]["content"]["body"]),
    "webhook": lambda body: f"{body['title']}\n{body['message']}",
}
PATHS = {
    "/robot/send": "dingtalk", "/open-apis/bot/v2/hook/feishu-hook-0815": "feishu", "/cgi-bin/webhook/send": "wecom",
    "/services/T0000/B0000/slacktoken0815": "slack", "/api/webhooks/4711/discord-token-0815": "discord",
    "/bot123456789:telegram-token-0815/sendMessage": "telegram", "/hook": "webhook",
    f"/workflows/{'ab' * 16}/triggers/manual/paths/invoke": "teams",
}  # fmt: skip
