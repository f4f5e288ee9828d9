"""Ports of loopback: which are free, and what answers there."""

from __future__ import annotations

import http
import http.client
import socket
from contextlib import closing

HOST = "127.0.0.1"


def is_free(port: int) -> bool:
    """Tell whether nothing listens there."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


def free() -> int:
    """Return a port that nothing listens on just now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def get(port: int, path: str) -> bytes | None:
    """Return what is answered with 200 there, else None; no proxy of the environment is asked."""
    with closing(http.client.HTTPConnection(HOST, port, timeout=5)) as connection:
        try:
            connection.request("GET", path)
            reply = connection.getresponse()
            return reply.read() if reply.status == http.HTTPStatus.OK else None
        except (OSError, http.client.HTTPException):
            return None
