"""`python -m benchmarks.http_load`: closed-loop HTTP load generator that checks and times every response.

It reads a `Load` as JSON from stdin, and writes a `Measurement` as JSON to stdout. Each connection sends the next
request as soon as it has the response (keep-alive). Each response must have status 200 and the expected values; else
the exit code is 1, with the reason on stderr.
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
_RESPONSE_SECONDS = 20.0
_END, _LENGTH = b"\r\n\r\n", b"content-length:"


@dataclass(frozen=True, slots=True)
class Request:
    """A request, and the expected values of the response: pairs of a path into its JSON and a value."""

    path: str
    body: str
    expected: Sequence[tuple[Sequence[str | int], Any]]

    def raw(self, headers: Mapping[str, str]) -> bytes:
        """Return the bytes of the HTTP request."""
        body = self.body.encode()
        head = f"POST {self.path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        head += "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


@dataclass(frozen=True, slots=True)
class Load:
    """The requests to send in turn, the number of connections, and the seconds of warm-up and measurement.

    `server` is the process of the server; `headers` are sent with each request.
    """

    port: int
    server: int
    connections: int
    warmup: float
    seconds: float
    requests: Sequence[Request]
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Measurement:
    """The result of a measurement; `cpu` is the CPU time of the server's processes meanwhile."""

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
        self._sent = 0
        self._active_connections = 0
        self._until = 0.0
        self._connections: list[Connection] = []
        self.latencies: list[float] = []

    async def connect(self, port: int, count: int) -> None:
        """Open the connections."""
        loop = asyncio.get_running_loop()
        for _ in range(count):
            _, connection = await loop.create_connection(lambda: Connection(self), "127.0.0.1", port)
            self._connections.append(connection)

    async def run(self, seconds: float) -> None:
        """Send requests for `seconds`, and wait for the last responses.

        Raises:
            BenchmarkError: a response is wrong or missing.
        """
        self.latencies = []
        self._ended = asyncio.get_running_loop().create_future()
        self._active_connections, self._until = len(self._connections), time.perf_counter() + seconds
        for connection in self._connections:
            self.send_next(connection)
        try:
            async with asyncio.timeout(seconds + _RESPONSE_SECONDS):
                await self._ended
        except TimeoutError:
            raise BenchmarkError(
                f"no answer within {_RESPONSE_SECONDS:g} s after {len(self.latencies)} answers"
            ) from None

    def send_next(self, connection: Connection) -> None:
        """Send the next request."""
        number = self._sent % len(self._raw)
        self._sent += 1
        connection.send(number, self._raw[number])

    def on_response(self, connection: Connection, status: int, body: bytes, seconds: float) -> None:
        """Check a response; send the next request, unless time is up."""
        self.latencies.append(seconds)
        if problem := fault(status, body, self._requests[connection.number].expected):
            self.failed(f"row {connection.number}: {problem}")
        elif time.perf_counter() < self._until:
            self.send_next(connection)
        else:
            self._active_connections -= 1
            if not self._active_connections and not self._ended.done():
                self._ended.set_result(None)

    def failed(self, problem: str) -> None:
        """End the run with an error."""
        if self._active_connections and not self._ended.done():
            self._ended.set_exception(BenchmarkError(f"{problem} (after {len(self.latencies)} answers)"))


class Connection(asyncio.Protocol):
    """A connection with one request in flight."""

    def __init__(self, client: Client) -> None:
        self._client, self._data, self._start = client, b"", 0.0
        self._transport: Any = None
        self.number = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Store the transport."""
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail the run."""
        self._client.failed(f"the server closed a connection{f': {exc}' if exc else ''}")

    def send(self, number: int, raw: bytes) -> None:
        """Send a request."""
        self.number, self._data, self._start = number, b"", time.perf_counter()
        self._transport.write(raw)

    def data_received(self, data: bytes) -> None:
        """Collect the response, and pass it to the client once it is complete."""
        now = time.perf_counter()
        self._data = data = self._data + data if self._data else data
        end = data.find(_END)
        if end < 0:
            return
        head = data[:end].lower()
        at = head.find(_LENGTH)
        if at < 0:
            self._client.failed(f"a response has no content-length: {head[:200]!r}")
            return
        length = int(head[at + len(_LENGTH) :].split(b"\r\n", 1)[0])
        if len(data) >= end + len(_END) + length:
            self._client.on_response(self, int(head[9:12]), data[end + len(_END) :], now - self._start)


def fault(status: int, body: bytes, expected: Sequence[tuple[Sequence[str | int], Any]]) -> str | None:
    """Return why a response is wrong, or None. Numbers may differ by TOLERANCE."""
    import orjson

    if status != 200:
        return f"status {status}: {body[:300].decode(errors='replace')}"
    try:
        answer = orjson.loads(body)
        for path, value in expected:
            actual = answer
            for key in path:
                actual = actual[key]
            if actual != value and not (isinstance(value, float) and abs(actual - value) <= TOLERANCE):
                return f"{'.'.join(map(str, path))} is {actual!r}, not {value!r}"
    except (ValueError, LookupError, TypeError) as error:
        return f"the response lacks an expected value ({error!r}): {body[:300].decode(errors='replace')}"
    return None


def percentile(values: Sequence[float], share: float) -> float:
    """Return a percentile of sorted values (nearest rank)."""
    return values[max(0, -(-round(share * 1000) * len(values) // 1000) - 1)]


async def measure(load: Load) -> Measurement:
    """Warm up, then measure.

    Raises:
        BenchmarkError: a response is wrong or missing.
    """
    client = Client(load.requests, load.headers)
    try:
        await client.connect(load.port, load.connections)
    except OSError as error:
        raise BenchmarkError(f"no server on port {load.port}: {error}") from error
    await client.run(load.warmup)
    before, start = process_tree.cpu_seconds(load.server), time.perf_counter()
    await client.run(load.seconds)
    seconds, cpu = time.perf_counter() - start, process_tree.cpu_seconds(load.server) - before
    times = sorted(1000 * each for each in client.latencies)
    return Measurement(len(times), seconds, cpu, percentile(times, 0.5), percentile(times, 0.99), times[-1])


def measure_in_process(load: Load, cpu: int) -> Measurement:
    """Measure from a separate process, on one CPU.

    Raises:
        BenchmarkError: a response is wrong or missing.
    """
    with pinned(cpu):
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.http_load"],
            input=json.dumps(asdict(load)), cwd=ROOT, capture_output=True, text=True, check=False,
        )  # fmt: skip
    if done.returncode:
        raise BenchmarkError(done.stderr.strip()[-2_000:])
    return Measurement(**json.loads(done.stdout))


def main() -> int:
    """Run the measurement that stdin describes."""
    import uvloop

    request = json.load(sys.stdin)
    load = Load(**{**request, "requests": [Request(**each) for each in request["requests"]]})
    try:
        print(json.dumps(asdict(uvloop.run(measure(load)))))
    except BenchmarkError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
