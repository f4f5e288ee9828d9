"""HTTP server of the exporter."""

from __future__ import annotations

import socket
import threading
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from ai_workflow.http_server import lingering_close


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True

    def shutdown_request(self, request: Any) -> None:
        """Close a connection after the client received the response, because request bodies are not read."""
        lingering_close.close(request)


class _Server6(_Server):
    address_family = socket.AF_INET6


class _Handler(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name of the base class
        """Do not log requests."""


def listen(host: str, port: int, app: Any) -> WSGIServer:
    """Serve a WSGI application in threads, and return the server.

    Raises:
        OSError: the address is in use, or not local.
    """
    family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0][0]
    server = make_server(host, port, app, _Server6 if family == socket.AF_INET6 else _Server, _Handler)
    threading.Thread(target=server.serve_forever, name="http", daemon=True).start()
    return server
