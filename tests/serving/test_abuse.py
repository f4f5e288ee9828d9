"""Who asks too slowly, too much or without a right to is refused cheaply, and healthy callers do not notice."""

from __future__ import annotations

import contextlib
import resource
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.serving import published_models
from tests.serving.running_service import Running, dumps, of_two_versions
from tests.serving.traffic import Traffic

LATEST = "model_v1.1"
TOKEN = "let-me-in"
LIMITS = {"read_seconds": 0.3, "idle_seconds": 1.5, "max_connections": 64, "max_body_bytes": 100_000}


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A service with narrow limits."""
    with of_two_versions(tmp_path_factory.mktemp("strict"), service=LIMITS) as running:
        yield running


@contextlib.contextmanager
def connected(running: Running) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", running.port), timeout=10) as client:
        yield client


def heard(client: socket.socket) -> bytes:
    """Return all that the service says until it hangs up."""
    said = b""
    while piece := client.recv(65_536):
        said += piece
    return said


def told(client: socket.socket) -> bytes:
    """Return one response."""
    said = b""
    while b"}" not in said:
        said += client.recv(65_536)
    return said


HEAD = b"POST /predict HTTP/1.1\r\nhost: localhost\r\n"


BEGUN = [
    b"", b"POST /pre", HEAD + b"content-le", HEAD + b"content-length: 500\r\n\r\n{",
    HEAD + b"transfer-encoding: chunked\r\n\r\n5\r\n{",
]  # fmt: skip


@pytest.mark.integration
def test_unfinished_request_is_disconnected_after_read_timeout(strict: Running) -> None:
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(connected(strict)) for _ in BEGUN]
        for client, begun in zip(clients, BEGUN, strict=True):
            client.sendall(begun)
        assert [heard(client) for client in clients] == [b""] * len(BEGUN)


@pytest.mark.integration
def test_slow_trickling_client_is_disconnected_after_read_timeout(strict: Running) -> None:
    began = time.monotonic()
    with connected(strict) as client, contextlib.suppress(ConnectionError):
        client.sendall(HEAD)
        for _ in range(100):
            client.sendall(b"x: y\r\n")
            time.sleep(0.1)
    assert time.monotonic() - began < 9, "it was not let go on for 10 s"


@pytest.mark.slow
def test_idle_connection_is_closed_and_active_connection_is_kept(strict: Running) -> None:
    request = HEAD + b"content-length: 2\r\n\r\n{}"
    with connected(strict) as busy, connected(strict) as silent:
        for client in (busy, silent):
            client.sendall(request)
            assert b" 400 " in told(client)
        until = time.monotonic() + 3.5
        while time.monotonic() < until:
            busy.sendall(request)
            assert b" 400 " in told(busy)
            time.sleep(0.2)
        assert heard(silent) == b""


def refusals(running: Running) -> float:
    return running.metrics().get('inference_invalid_total{code="413"}', 0)


@pytest.mark.integration
def test_oversized_body_returns_413_without_being_read(strict: Running) -> None:
    before = refusals(strict)
    with connected(strict) as client:
        client.sendall(HEAD + b"content-length: 100000000\r\n\r\n")
        said = heard(client)
    assert b" 413 " in said
    assert b"service.max_body_bytes" in said
    with connected(strict) as client:
        client.sendall(HEAD + b"transfer-encoding: chunked\r\n\r\n")
        for _ in range(200):
            client.sendall(b"c350\r\n" + b" " * 50_000 + b"\r\n")
        assert b" 413 " in heard(client)
    assert refusals(strict) - before == 2


@pytest.mark.integration
def test_endless_request_head_is_rejected(strict: Running) -> None:
    with connected(strict) as client, contextlib.suppress(ConnectionError):
        client.sendall(HEAD)
        for number in range(100_000):
            client.sendall(b"x-%d: %s\r\n" % (number, b"y" * 1000))
        pytest.fail("100 MB of head were taken")


@pytest.mark.slow
def test_idle_connections_are_closed_when_connection_limit_is_reached(tmp_path: Path) -> None:
    # Nothing else closes them meanwhile: a silent connection may stay for a minute.
    patient = {"max_connections": 64, "read_seconds": 60, "idle_seconds": 60}
    with of_two_versions(tmp_path, service=patient) as running, contextlib.ExitStack() as stack:
        opened = []
        for number in range(200):
            client = stack.enter_context(contextlib.closing(socket.create_connection(("127.0.0.1", running.port))))
            opened.append(client)
            if number % 50 == 0:
                # A connection of an earlier request may be closed at any moment.
                assert running.predict(published_models.ROW, connection="close")["model_version"] == LATEST
        with connected(running) as client:
            body = dumps([published_models.ROW])
            client.sendall(HEAD + b"content-length: %d\r\n\r\n%s" % (len(body), body))
            assert b" 200 " in client.recv(65_536)
        # A socket whose other end is closed can be read from.
        closed, _, _ = select.select(opened, [], [], 0)
        assert len(opened) - len(closed) <= 64


def deep(client: socket.socket) -> None:
    body = b'{"rows": ' + b'[{"a": ' * 30_000
    client.sendall(HEAD + b"authorization: Bearer let-me-in\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body))
    assert b" 400 " in client.recv(65_536)


def unknown(client: socket.socket) -> None:
    client.sendall(HEAD + b"authorization: Bearer wrong\r\ncontent-length: 2\r\n\r\n{}")
    assert b" 401 " in client.recv(65_536)


def huge(client: socket.socket) -> None:
    client.sendall(HEAD + b"authorization: Bearer let-me-in\r\ncontent-length: 100000000\r\n\r\n")
    with contextlib.suppress(ConnectionError):
        for _ in range(100):
            client.sendall(b" " * 1_000_000)


def slow(client: socket.socket) -> None:
    with contextlib.suppress(ConnectionError):
        for byte in HEAD[:20]:
            client.sendall(bytes([byte]))
            time.sleep(0.1)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_abusive_clients_do_not_delay_healthy_clients(tmp_path: Path, root: Path) -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    service = {"token": TOKEN, "read_seconds": 2}
    with Running(published_models.pipeline(tmp_path, service=service), root) as running:
        body = dumps([published_models.ROW])
        idle = [socket.create_connection(("127.0.0.1", running.port)) for _ in range(min(10_000, most - 500))]
        with Traffic(running.port, body, rate=100, headers={"authorization": f"Bearer {TOKEN}"}) as traffic:
            time.sleep(1)
            for abuse in (deep, unknown, huge, slow):
                _at_once(running, abuse, 8, 3.0)
        for client in idle:
            client.close()
        assert traffic.lost == []
        answered = traffic.versions()
        # As many as may be late where other work keeps the machine busy.
        assert answered[LATEST] >= 0.98 * sum(answered.values()), answered
        # A ping is shorter than a request, so that it does not show each moment in which other work has the CPUs.
        assert traffic.excess(0.2) <= 0.05
        memory = int(Path(f"/proc/{running.process.pid}/status").read_text().split("VmHWM:")[1].split()[0]) / 1024
        assert memory < 600, "100 MB bodies, eight at a time, were not kept"


def _at_once(running: Running, abuse: Callable[[socket.socket], None], clients: int, seconds: float) -> None:
    """Let some clients do the same again and again for a while."""
    until, failures = time.monotonic() + seconds, []

    def act() -> None:
        while time.monotonic() < until:
            try:
                with connected(running) as client:
                    abuse(client)
            except (AssertionError, OSError) as error:
                failures.append(error)

    threads = [threading.Thread(target=act, daemon=True) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(seconds + 20)
    assert not failures, failures[:3]
