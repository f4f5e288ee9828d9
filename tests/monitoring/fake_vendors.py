"""Chat vendors on loopback that speak the documented protocols, and fail as the real ones do."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

DINGTALK_SECRET = "SEC-ding-0815"
FEISHU_SECRET = "feishu-0815"
WEBHOOK_TOKEN = "webhook-token-0815"
_HOUR = 3600

Answer = tuple[int, dict[str, str], bytes]


@dataclass
class Vendors:
    """All vendors; `faults` says how one fails, `got` what each took, `asked` every request it saw.

    Faults: `refuse` (as the vendor refuses), `throttle` (as it throttles), `500`, `html` (200 and a page), `hang`
    (no answer until the fault is gone), `drop` (the connection ends), `redirect`.
    """

    port: int = 0
    tls_port: int = 0
    faults: dict[str, str] = field(default_factory=dict)
    got: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    asked: dict[str, int] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def url(self, kind: str) -> str:
        """Return the address of a bot, as the vendor would show it."""
        base = f"http://127.0.0.1:{self.port}"
        return {
            "dingtalk": f"{base}/robot/send?access_token=ding-token-0815",
            "feishu": f"{base}/open-apis/bot/v2/hook/feishu-hook-0815",
            "wecom": f"{base}/cgi-bin/webhook/send?key=wecom-key-0815",
            "slack": f"{base}/services/T0000/B0000/slacktoken0815",
            "discord": f"{base}/api/webhooks/4711/discord-token-0815",
            "telegram": f"{base}/bot123456789:telegram-token-0815/sendMessage?chat_id=-1001",
            "teams": f"https://localhost:{self.tls_port}/workflows/{'ab' * 16}/triggers/manual/paths/invoke"
            "?api-version=2016-06-01&sp=%2Ftriggers%2Fmanual%2Frun&sv=1.0&sig=teams-signature-0815",
            "webhook": f"{base}/hook?room=7",
        }[kind]

    def channel(self, kind: str, **other: Any) -> dict[str, Any]:
        """Return a channel of the configuration that writes there, named like its kind."""
        secret = {"dingtalk": DINGTALK_SECRET, "feishu": FEISHU_SECRET, "webhook": WEBHOOK_TOKEN}.get(kind)
        return {"name": kind, "kind": kind, "url": self.url(kind), **({"secret": secret} if secret else {}), **other}

    def texts(self, kind: str) -> list[str]:
        """Return the messages that a vendor took, each as one text."""
        return [_TEXTS[kind](body) for body in self.got.get(kind, [])]

    def answer(self, kind: str, handler: BaseHTTPRequestHandler, raw: bytes) -> Answer | None:
        """Return the answer of a vendor, or None where it ends the connection."""
        with self.lock:
            self.asked[kind] = self.asked.get(kind, 0) + 1
        fault = self.faults.get(kind)
        while fault == "hang":
            time.sleep(0.05)
            if self.faults.get(kind) != "hang":
                return None
        common: dict[str, Answer | None] = {
            "500": (500, {}, b"oops"), "html": (200, {}, b"<html>maintenance</html>"), "drop": None,
            "redirect": (302, {"location": f"http://127.0.0.1:{self.port}/elsewhere"}, b""),
        }  # fmt: skip
        if fault in common:
            return common[fault]
        if fault in {"refuse", "throttle"}:
            return _SAYS_NO[kind][fault]
        body = json.loads(raw)
        refused = _PROTOCOLS[kind](handler, body, raw)
        if refused is not None:
            return refused
        with self.lock:
            self.got.setdefault(kind, []).append(body)
        return _YES[kind]


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


def _slack(handler: BaseHTTPRequestHandler, body: dict[str, Any], raw: bytes) -> Answer | None:
    blocks = body["attachments"][0]["blocks"]
    bad = [one for one in blocks if len(one["text"]["text"]) > (150 if one["type"] == "header" else 3000)]
    return (400, {}, b"invalid_attachments") if bad else None


def _discord(handler: BaseHTTPRequestHandler, body: dict[str, Any], raw: bytes) -> Answer | None:
    embed = body["embeds"][0]
    bad = len(embed["description"]) > 4096 or len(embed["title"]) > 256 or body.get("content")
    return _json(400, {"message": "Invalid Form Body", "code": 50035}) if bad else None


def _telegram(handler: BaseHTTPRequestHandler, body: dict[str, Any], raw: bytes) -> Answer | None:
    if str(body["chat_id"]) != "-1001" or body["parse_mode"] != "HTML" or not 0 < len(body["text"]) <= 4096:
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


_PROTOCOLS: dict[str, Callable[[BaseHTTPRequestHandler, dict[str, Any], bytes], Answer | None]] = {
    "dingtalk": _dingtalk, "feishu": _feishu, "wecom": _wecom, "slack": _slack, "discord": _discord,
    "telegram": _telegram, "teams": _teams, "webhook": _webhook,
}  # fmt: skip
KINDS = tuple(_PROTOCOLS)
_YES: dict[str, Answer] = {
    "dingtalk": _json(200, {"errcode": 0, "errmsg": "ok"}),
    "feishu": _json(200, {"StatusCode": 0, "StatusMessage": "success", "code": 0, "data": {}, "msg": "success"}),
    "wecom": _json(200, {"errcode": 0, "errmsg": "ok"}),
    "slack": (200, {"content-type": "text/html"}, b"ok"),
    "discord": (204, {}, b""),
    "telegram": _json(200, {"ok": True, "result": {"message_id": 7}}),
    "teams": (202, {}, b""),
    "webhook": (200, {}, b"thanks"),
}
_SAYS_NO: dict[str, dict[str, Answer]] = {
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
_TEXTS: dict[str, Callable[[dict[str, Any]], str]] = {
    "dingtalk": lambda body: f"{body['markdown']['title']}\n{body['markdown']['text']}",
    "feishu": lambda body: f"{body['card']['header']['title']['content']}\n{body['card']['elements'][0]['content']}",
    "wecom": lambda body: str(body["markdown"]["content"]),
    "slack": lambda body: "\n".join(block["text"]["text"] for block in body["attachments"][0]["blocks"]),
    "discord": lambda body: f"{body['embeds'][0]['title']}\n{body['embeds'][0]['description']}",
    "telegram": lambda body: str(body["text"]),
    "teams": lambda body: "\n".join(part["text"] for part in body["attachments"][0]["content"]["body"]),
    "webhook": lambda body: f"{body['title']}\n{body['message']}",
}
_PATHS = {
    "/robot/send": "dingtalk", "/open-apis/bot/v2/hook/feishu-hook-0815": "feishu", "/cgi-bin/webhook/send": "wecom",
    "/services/T0000/B0000/slacktoken0815": "slack", "/api/webhooks/4711/discord-token-0815": "discord",
    "/bot123456789:telegram-token-0815/sendMessage": "telegram", "/hook": "webhook",
    f"/workflows/{'ab' * 16}/triggers/manual/paths/invoke": "teams",
}  # fmt: skip


@contextmanager
def running(folder: Path) -> Iterator[Vendors]:
    """Start all vendors; Teams, which is only ever asked over TLS, with the certificate `folder/certificate.pem`."""
    vendors = Vendors()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            raw = self.rfile.read(int(self.headers["content-length"]))
            kind = _PATHS.get(urlsplit(self.path).path)
            answer = vendors.answer(kind, self, raw) if kind else (404, {}, b"no such bot")
            if answer is None:
                self.close_connection = True
                self.connection.shutdown(socket.SHUT_RDWR)
                return
            status, headers, content = answer
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def do_GET(self) -> None:
            # Where a post was redirected and became a get.
            self.send_response(200)
            self.send_header("content-length", "2")
            self.end_headers()
            self.wfile.write(b"ok")

        def log_message(self, *_: object) -> None:
            """Say nothing."""

        def handle(self) -> None:
            with suppress(OSError):
                super().handle()

    servers = [ThreadingHTTPServer(("127.0.0.1", 0), Handler) for _ in range(2)]
    servers[1].socket = _context(folder).wrap_socket(servers[1].socket, server_side=True)
    vendors.port, vendors.tls_port = (server.server_address[1] for server in servers)
    threads = [threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True) for server in servers]
    for server, thread in zip(servers, threads, strict=True):
        server.daemon_threads = True
        server.block_on_close = False
        thread.start()
    try:
        yield vendors
    finally:
        vendors.faults.clear()
        for server, thread in zip(servers, threads, strict=True):
            server.shutdown()
            server.server_close()
            thread.join(5)


def _context(folder: Path) -> ssl.SSLContext:
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-days", "2"]
    subprocess.run([*command, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context
