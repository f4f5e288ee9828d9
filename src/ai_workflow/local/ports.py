"""Ports of the loopback interface: checks and requests."""

from __future__ import annotations

import http
import http.client
import socket
from base64 import b64encode
from contextlib import closing

HOST = "127.0.0.1"


def is_free(port: int) -> bool:
    """Return whether nothing listens on a port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


def find_free() -> int:
    """Return a port that nothing listens on at present."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def get(port: int, path: str, login: str = "") -> bytes | None:
    """Return the body of a response with status 200, else None; proxies of the environment are not used.

    Args:
        port: the port on loopback.
        path: the path of the request.
        login: as `user:password`, for a server that requires one.
    """
    headers = {"authorization": f"Basic {b64encode(login.encode()).decode()}"} if login else {}
    with closing(http.client.HTTPConnection(HOST, port, timeout=5)) as connection:
        try:
            connection.request("GET", path, headers=headers)
            response = connection.getresponse()
            return response.read() if response.status == http.HTTPStatus.OK else None
        except (OSError, http.client.HTTPException):
            return None
