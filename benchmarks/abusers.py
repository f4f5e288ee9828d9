"""`python -m benchmarks.abusers KIND PORT SECONDS`: hostile clients at a limited rate.

idle    10 000 connections that send nothing
slow    200 connections that send a byte of a request every half second
huge    bodies of 100 MB, four at a time
deep    JSON nested 30 000 times, 20 per second
wrong   a wrong token, 200 per second
"""

from __future__ import annotations

import asyncio
import contextlib
import resource
import sys
from collections.abc import Awaitable, Callable, Sequence

IDLE, SLOW, HUGE = 10_000, 200, 4
_HEAD = b"POST /predict HTTP/1.1\r\nhost: x\r\nauthorization: Bearer %s\r\ncontent-length: %d\r\n\r\n"
_PIECE = 1 << 20
TOKEN = "benchmark"  # noqa: S105 - of a temporary service on loopback


async def _connect(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", port)


async def idle(port: int) -> None:
    """Open connections and send nothing."""
    writers = []
    for _ in range(IDLE):
        with contextlib.suppress(OSError):
            writers.append((await _connect(port))[1])
    await asyncio.Event().wait()


async def slow(port: int) -> None:
    """Send an endless request, a byte at a time; reconnect when the server closes the connection."""

    async def client() -> None:
        while True:
            with contextlib.suppress(OSError):
                _, writer = await _connect(port)
                for byte in _HEAD * 10:
                    writer.write(bytes([byte]))
                    await writer.drain()
                    await asyncio.sleep(0.5)

    await asyncio.gather(*(client() for _ in range(SLOW)))


async def huge(port: int) -> None:
    """Send bodies of 100 MB, and ignore the responses."""

    async def client() -> None:
        while True:
            with contextlib.suppress(OSError):
                _, writer = await _connect(port)
                writer.write(_HEAD % (TOKEN.encode(), 100_000_000))
                for _ in range(100):
                    writer.write(b" " * _PIECE)
                    await writer.drain()
            await asyncio.sleep(0.1)

    await asyncio.gather(*(client() for _ in range(HUGE)))


async def deep(port: int) -> None:
    """Send JSON that is nested too deeply."""
    body = b'{"rows": ' + b'[{"a": ' * 30_000
    await _repeat(port, _HEAD % (TOKEN.encode(), len(body)) + body, 20)


async def wrong(port: int) -> None:
    """Send requests with a wrong token."""
    await _repeat(port, _HEAD % (b"guessed", 2) + b"{}", 200)


async def _repeat(port: int, request: bytes, rate: float) -> None:
    while True:
        with contextlib.suppress(OSError):
            reader, writer = await _connect(port)
            writer.write(request)
            await reader.read(100)
            writer.close()
        await asyncio.sleep(1 / rate)


KINDS: dict[str, Callable[[int], Awaitable[None]]] = {
    "idle": idle, "slow": slow, "huge": huge, "deep": deep, "wrong": wrong,
}  # fmt: skip


def main(arguments: Sequence[str]) -> None:
    """Run one kind of load for the given seconds."""
    kind, port, seconds = arguments
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))

    async def bounded() -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(KINDS[kind](int(port)), float(seconds))

    asyncio.run(bounded())


if __name__ == "__main__":
    main(sys.argv[1:])
