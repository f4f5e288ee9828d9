"""A service that speaks OSV as https://google.github.io/osv.dev/api/ documents it, and knows one vulnerability."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

LOOPBACK = "127.0.0.1"
NAME, VERSION, FIXED = "jinja2", "2.4.1", "2.11.3"
ADVISORY, ALIAS = "GHSA-test-0000-0001", "CVE-2026-00001"
_RECORD = {
    "id": ADVISORY, "aliases": [ALIAS], "modified": "2026-01-01T00:00:00Z", "summary": "It runs what it is given",
    "affected": [{
        "package": {"name": NAME, "ecosystem": "PyPI"},
        "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": FIXED}]}],
    }],
}  # fmt: skip


class _Answers(BaseHTTPRequestHandler):
    server: _Server

    def do_POST(self) -> None:
        """/v1/querybatch: for each question the ids of what is known, in the same order."""
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))["queries"]
        self.server.asked += [(one["package"]["name"], one["version"]) for one in asked]
        known = {"vulns": [{"id": ADVISORY, "modified": _RECORD["modified"]}]}
        results = [
            known if (one["package"], one["version"]) == ({"name": NAME, "ecosystem": "PyPI"}, VERSION) else {}
            for one in asked
        ]
        self._answer(200 if self.path == "/v1/querybatch" else 404, {"results": results})

    def do_GET(self) -> None:
        """/v1/vulns/ID: all that is known of one."""
        self._answer(200 if self.path == f"/v1/vulns/{ADVISORY}" else 404, _RECORD)

    def _answer(self, status: int, told: Any) -> None:
        status = self.server.trouble or status
        body = json.dumps(told).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class _Server(ThreadingHTTPServer):
    """What was asked, and a status that it answers whatever it is asked."""

    asked: list[tuple[str, str]]
    trouble: int


@contextmanager
def answering(trouble: int = 0) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """Start one; give its address, and the names and versions that it is asked for."""
    with _Server((LOOPBACK, 0), _Answers) as server:
        server.asked, server.trouble = [], trouble
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield f"http://{LOOPBACK}:{server.server_port}", server.asked
        finally:
            server.shutdown()
            thread.join()
