"""The load client takes no wrong answer, and times those that are right."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest

from benchmarks import http_load
from benchmarks.http_load import Load, Measurement, Request, percentile
from benchmarks.measure import BenchmarkError

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]


def test_load_client_counts_and_times_responses() -> None:
    asked: list[bytes] = []

    found = _loaded(lambda body: [asked.append(body) or _answer(_double(body))], connections=3, seconds=0.2)

    assert found.answers > 3
    assert len(asked) > found.answers  # the warm-up does not count
    assert asked[:2] == [b'{"x": 0.5}', b'{"x": 1.5}']
    assert 0 < found.p50_ms <= found.p99_ms <= found.most_ms
    assert 0.2 <= found.seconds < 2
    assert found.cpu > 0


def test_response_in_several_packets_is_accepted() -> None:
    def pieces(body: bytes) -> list[bytes]:
        whole = _answer(_double(body))
        return [whole[:9], whole[9:-3], whole[-3:]]

    assert _loaded(pieces).answers >= 1


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda _: [_answer(b'{"y": [3.0001]}')], r"row 0: y\.0 is 3\.0001, not 1\.0"),
        (lambda _: [_answer(b'{"y": []}')], "row 0: the response lacks an expected value"),
        (lambda _: [_answer(b"not json")], "row 0: the response lacks an expected value"),
        (lambda _: [_answer(b"busy", "503 Busy")], "row 0: status 503: busy"),
        (lambda _: [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"], "has no content-length"),
        (lambda _: [b""], "the server closed a connection"),
    ],
    ids=["other number", "no number", "no JSON", "503", "no length", "hangs up"],
)
def test_wrong_response_raises_benchmark_error(answer: Callable[[bytes], list[bytes]], said: str) -> None:
    with pytest.raises(BenchmarkError, match=said):
        _loaded(answer)


def test_silent_server_raises_benchmark_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_load, "_RESPONSE_SECONDS", 0.1)

    with pytest.raises(BenchmarkError, match=r"no answer within 0\.1 s after 0 answers"):
        _loaded(lambda _: [])


def test_client_process_prints_connection_error() -> None:
    load = Load(1, os.getpid(), 1, 0.1, 0.1, [Request("/", "{}", [])])
    command = [sys.executable, "-m", "benchmarks.http_load"]

    done = subprocess.run(
        command, input=json.dumps(asdict(load)), cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert done.returncode == 1
    assert done.stderr.startswith("no server on port 1")


@pytest.mark.parametrize(("share", "value"), [(0.5, 50), (0.99, 99), (1.0, 100), (0.001, 1)])
def test_percentile_returns_observed_value(share: float, value: int) -> None:
    assert percentile(range(1, 101), share) == value


def _double(body: bytes) -> bytes:
    return json.dumps({"y": [2 * json.loads(body)["x"]]}).encode()


def _answer(body: bytes, status: str = "200 OK") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def _loaded(answer: Callable[[bytes], list[bytes]], connections: int = 1, seconds: float = 0.05) -> Measurement:
    """Load a server that sends these pieces for a body, and hangs up on an empty one."""
    requests = [Request("/x", json.dumps({"x": x}), [(("y", 0), 2 * x)]) for x in (0.5, 1.5)]

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await _read(reader):
            length = int(head.lower().split(b"content-length:")[1].split()[0])
            for piece in answer(await reader.readexactly(length)):
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0)
                if not piece:
                    writer.close()
        writer.close()

    async def both() -> Measurement:
        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            return await http_load.measure(Load(port, os.getpid(), connections, 0.02, seconds, requests))

    return asyncio.run(both())


async def _read(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, ConnectionError):
        return b""
