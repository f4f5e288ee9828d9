"""A stand-in for a workspace of Prefect Cloud on this machine: it answers as Prefect documents, and keeps nothing."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

WORKSPACE = "/api/accounts/0a1b/workspaces/2c3d"


@dataclass
class Cloud:
    """One workspace.

    Args:
        url: the PREFECT_API_URL of it.
        refuses: status and body for every request.
        refuses_writes: status and body for requests that create or change something.
        requests: method, path and Authorization of each.
    """

    url: str = ""
    refuses: tuple[int, Any] | None = None
    refuses_writes: tuple[int, Any] | None = None
    requests: list[tuple[str, str, str | None]] = field(default_factory=list)

    @property
    def writes(self) -> list[tuple[str, str]]:
        """The requests that would create or change something."""
        return [(method, path) for method, path, _ in self.requests if _is_write(method, path)]

    def reply(self, method: str, path: str) -> tuple[int, Any]:
        """Return status and body."""
        if self.refuses:
            return self.refuses
        if _is_write(method, path):
            return self.refuses_writes or (500, {"detail": "this stand-in keeps nothing"})
        return (200, []) if method == "POST" else (404, {"detail": "Not Found"})


def _is_write(method: str, path: str) -> bool:
    return method != "GET" and not path.rstrip("/").endswith(("/filter", "/count"))


@contextmanager
def running() -> Iterator[Cloud]:
    """Start it, as long as the context lasts."""
    cloud = Cloud()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _reply(self) -> None:
            self.rfile.read(int(self.headers.get("content-length") or 0))
            cloud.requests.append((self.command, self.path, self.headers.get("authorization")))
            status, body = cloud.reply(self.command, self.path)
            data = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _reply  # noqa: N815 - the names that the base class calls

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        cloud.url = f"http://127.0.0.1:{server.server_port}{WORKSPACE}"
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield cloud
        finally:
            server.shutdown()
            thread.join()
