"""Chat vendors on loopback that speak the documented protocols, and fail as the real ones do."""

from __future__ import annotations

import json
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.monitoring.relay.vendor_protocols import (
    DINGTALK_SECRET,
    FEISHU_SECRET,
    KINDS,
    PATHS,
    PROTOCOLS,
    SAYS_NO,
    TEXTS,
    WEBHOOK_TOKEN,
    YES,
    Answer,
)

__all__ = ["KINDS", "WEBHOOK_TOKEN", "Vendors", "running"]


@dataclass
class Vendors:
    """All vendors; `faults` says how one fails, `got` what each took, `asked` every request it saw.

    Faults: `refuse` (as the vendor refuses), `throttle` (as it throttles), `500`, `html` (200 and a page), `hang`
    (no answer, and none when the fault is gone), `wait` (its answer comes when the fault is gone), `drop` (the
    connection ends), `redirect`.
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
        return [TEXTS[kind](body) for body in self.got.get(kind, [])]

    def answer(self, kind: str, handler: BaseHTTPRequestHandler, raw: bytes) -> Answer | None:
        """Return the answer of a vendor, or None where it ends the connection."""
        fault = self.faults.get(kind)
        with self.lock:
            self.asked[kind] = self.asked.get(kind, 0) + 1
        while fault == "hang":
            time.sleep(0.05)
            if self.faults.get(kind) != "hang":
                return None
        while self.faults.get(kind) == "wait":
            time.sleep(0.05)
        common: dict[str, Answer | None] = {
            "500": (500, {}, b"oops"), "html": (200, {}, b"<html>maintenance</html>"), "drop": None,
            "redirect": (302, {"location": f"http://127.0.0.1:{self.port}/elsewhere"}, b""),
        }  # fmt: skip
        if fault in common:
            return common[fault]
        if fault in {"refuse", "throttle"}:
            return SAYS_NO[kind][fault]
        body = json.loads(raw)
        refused = PROTOCOLS[kind](handler, body, raw)
        if refused is not None:
            return refused
        with self.lock:
            self.got.setdefault(kind, []).append(body)
        return YES[kind]


@contextmanager
def running(folder: Path) -> Iterator[Vendors]:
    """Start all vendors; Teams, which is only ever asked over TLS, with the certificate `folder/certificate.pem`."""
    vendors = Vendors()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            raw = self.rfile.read(int(self.headers["content-length"]))
            kind = PATHS.get(urlsplit(self.path).path)
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
