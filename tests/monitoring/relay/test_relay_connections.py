"""The relay's connections: offers of other protocols are ignored, no path is redirected."""

from __future__ import annotations

import socket

import pytest

from tests.monitoring.relay.running_relay import RunningRelay

pytestmark = pytest.mark.integration


def test_protocol_upgrade_gets_single_response_without_redirect(relay: RunningRelay) -> None:
    hidden = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
    last = b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    head = b"POST /alertmanager%b HTTP/1.1\r\nHost: localhost\r\nConnection: %b\r\nUpgrade: h2c\r\n"
    head += b"Content-Length: %d\r\n\r\n"
    for path, status in ((b"", b"401"), (b"/", b"404")):
        with socket.create_connection(("127.0.0.1", relay.port), timeout=20) as client:
            client.sendall(head % (path, b"Upgrade", len(hidden)) + hidden + last)
            received = b""
            while piece := client.recv(65_536):
                received += piece
        assert received.count(b"HTTP/1.1 ") == 2
        assert b"HTTP/1.1 200" in received
        assert received.split()[1] in (status, b"400")
        assert b"location:" not in received.lower()
