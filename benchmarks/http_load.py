"""`python -m benchmarks.http_load`: asks a server as fast as it answers, checks every answer, and times them.

A JSON object on stdin says what to do, one on stdout what was found; see `Load` and `Found`. Each connection asks
again as soon as it has its answer (closed loop, keep-alive). Each answer must be 200 and hold what it should, or the
measurement is an error: code 1, and what was wrong on stderr.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import process_tree
from benchmarks.measure import BenchmarkError
from benchmarks.running_server import pinned

ROOT = Path(__file__).resolve().parent.parent
TOLERANCE = 1e-6
_PATIENCE = 20.0
_END, _LENGTH = b"\r\n\r\n", b"content-length:"


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked, and what the answer must hold: pairs of a path into its JSON and the value there."""

    path: str
    body: str
    wanted: Sequence[tuple[Sequence[str | int], Any]]

    def raw(self, headers: Mapping[str, str]) -> bytes:
        """Return the bytes that go over the wire."""
        body = self.body.encode()
        head = f"POST {self.path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        head += "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


@dataclass(frozen=True, slots=True)
class Load:
    """What to do: requests in turn, over so many connections, for so long after a warm-up that does not count.

    `headers` come with each of them.
    """

    port: int
    server: int
    connections: int
    warmup: float
    seconds: float
    requests: Sequence[Request]
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Found:
    """What came of it; `cpu` is what the server's processes took from the first request to the last answer."""

    answers: int
    seconds: float
    cpu: float
    p50_ms: float
    p99_ms: float
    most_ms: float


class Client:
    """Some connections to one server; `run` may be called several times."""

    def __init__(self, requests: Sequence[Request], headers: Mapping[str, str] | None = None) -> None:
        self._requests, self._raw = requests, [request.raw(headers or {}) for request in requests]
        self._asked, self._asking, self._until = 0, 0, 0.0
        self._connections: list[Connection] = []
        self.latencies: list[float] = []

    async def connect(self, port: int, count: int) -> None:
        """Open the connections."""
        loop = asyncio.get_running_loop()
        for _ in range(count):
            _, connection = await loop.create_connection(lambda: Connection(self), "127.0.0.1", port)
            self._connections.append(connection)

    async def run(self, seconds: float) -> None:
        """Ask for so many seconds, and wait for the last answers.

        Raises:
            BenchmarkError: an answer is wrong, or none comes.
        """
        self.latencies = []
        self._ended = asyncio.get_running_loop().create_future()
        self._asking, self._until = len(self._connections), time.perf_counter() + seconds
        for connection in self._connections:
            self.ask(connection)
        try:
            async with asyncio.timeout(seconds + _PATIENCE):
                await self._ended
        except TimeoutError:
            raise BenchmarkError(f"no answer within {_PATIENCE:g} s after {len(self.latencies)} answers") from None

    def ask(self, connection: Connection) -> None:
        """Send the next request."""
        number = self._asked % len(self._raw)
        self._asked += 1
        connection.send(number, self._raw[number])

    def answered(self, connection: Connection, status: int, body: bytes, seconds: float) -> None:
        """Check an answer; ask again, unless time is up."""
        self.latencies.append(seconds)
        if problem := fault(status, body, self._requests[connection.number].wanted):
            self.failed(f"row {connection.number}: {problem}")
        elif time.perf_counter() < self._until:
            self.ask(connection)
        else:
            self._asking -= 1
            if not self._asking and not self._ended.done():
                self._ended.set_result(None)

    def failed(self, problem: str) -> None:
        """End the run with an error."""
        if self._asking and not self._ended.done():
            self._ended.set_exception(BenchmarkError(f"{problem} (after {len(self.latencies)} answers)"))


class Connection(asyncio.Protocol):
    """One connection: one request after the other."""

    def __init__(self, client: Client) -> None:
        self._client, self._data, self._start = client, b"", 0.0
        self._transport: Any = None
        self.number = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep what to write to."""
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the client, which cannot go on."""
        self._client.failed(f"the server closed a connection{f': {exc}' if exc else ''}")

    def send(self, number: int, raw: bytes) -> None:
        """Ask for one row."""
        self.number, self._data, self._start = number, b"", time.perf_counter()
        self._transport.write(raw)

    def data_received(self, data: bytes) -> None:
        """Wait for the whole answer, and hand it on."""
        now = time.perf_counter()
        self._data = data = self._data + data if self._data else data
        end = data.find(_END)
        if end < 0:
            return
        head = data[:end].lower()
        at = head.find(_LENGTH)
        if at < 0:
            self._client.failed(f"an answer without content-length cannot be read: {head[:200]!r}")
            return
        length = int(head[at + len(_LENGTH) :].split(b"\r\n", 1)[0])
        if len(data) >= end + len(_END) + length:
            self._client.answered(self, int(head[9:12]), data[end + len(_END) :], now - self._start)


def fault(status: int, body: bytes, wanted: Sequence[tuple[Sequence[str | int], Any]]) -> str | None:
    """Return what is wrong with an answer, or None. Numbers may differ by TOLERANCE."""
    import orjson

    if status != 200:
        return f"the server answered {status}: {body[:300].decode(errors='replace')}"
    try:
        answer = orjson.loads(body)
        for path, value in wanted:
            found = answer
            for key in path:
                found = found[key]
            if found != value and not (isinstance(value, float) and abs(found - value) <= TOLERANCE):
                return f"{'.'.join(map(str, path))} is {found!r}, not {value!r}"
    except (ValueError, LookupError, TypeError) as error:
        return f"the answer does not hold what it should ({error!r}): {body[:300].decode(errors='replace')}"
    return None


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value that this share of all does not exceed (nearest rank); of values in order."""
    return values[max(0, -(-round(share * 1000) * len(values) // 1000) - 1)]


async def measure(load: Load) -> Found:
    """Warm up, then measure.

    Raises:
        BenchmarkError: an answer is wrong, or none comes.
    """
    client = Client(load.requests, load.headers)
    try:
        await client.connect(load.port, load.connections)
    except OSError as error:
        raise BenchmarkError(f"nothing answers on port {load.port}: {error}") from error
    await client.run(load.warmup)
    before, start = process_tree.cpu_seconds(load.server), time.perf_counter()
    await client.run(load.seconds)
    seconds, cpu = time.perf_counter() - start, process_tree.cpu_seconds(load.server) - before
    times = sorted(1000 * each for each in client.latencies)
    return Found(len(times), seconds, cpu, percentile(times, 0.5), percentile(times, 0.99), times[-1])


def apart(load: Load, cpu: int) -> Found:
    """Measure from a process of its own, on one CPU.

    Raises:
        BenchmarkError: an answer is wrong, or none comes.
    """
    with pinned(cpu):
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.http_load"],
            input=json.dumps(asdict(load)), cwd=ROOT, capture_output=True, text=True, check=False,
        )  # fmt: skip
    if done.returncode:
        raise BenchmarkError(done.stderr.strip()[-2_000:])
    return Found(**json.loads(done.stdout))


def main() -> int:
    """Do what stdin says."""
    import uvloop

    given = json.load(sys.stdin)
    load = Load(**{**given, "requests": [Request(**each) for each in given["requests"]]})
    try:
        print(json.dumps(asdict(uvloop.run(measure(load)))))
    except BenchmarkError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
