"""Ports of loopback: which are free, and what answers there."""

from __future__ import annotations

import http
import http.client
import socket
from base64 import b64encode
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


def get(port: int, path: str, login: str = "") -> bytes | None:
    """Return what is answered with 200 there, else None; no proxy of the environment is asked.

    Args:
        port: of loopback.
        path: what is asked for.
        login: as `user:password`, for one that asks for it.
    """
    headers = {"authorization": f"Basic {b64encode(login.encode()).decode()}"} if login else {}
    with closing(http.client.HTTPConnection(HOST, port, timeout=5)) as connection:
        try:
            connection.request("GET", path, headers=headers)
            reply = connection.getresponse()
            return reply.read() if reply.status == http.HTTPStatus.OK else None
        except (OSError, http.client.HTTPException):
            return None
