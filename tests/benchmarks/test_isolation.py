"""The benchmark of isolation compares the others with and without the fault, and paces its requests."""

from __future__ import annotations

import asyncio
import time

import pytest

from benchmarks import isolation
from benchmarks.http_load import Connection, Request
from benchmarks.isolation import Latency, PacedClient


@pytest.mark.parametrize(("harmed", "verdict"), [(2.3, "1.15, met"), (2.6, "1.30, missed")])
def test_verdict_is_that_of_the_median_ratio_of_p99(harmed: float, verdict: str) -> None:
    pairs = [
        (Latency(1.0, 2.0), Latency(1.0, harmed)),
        (Latency(1.0, 2.0), Latency(1.0, 9.0)),
        (Latency(1.0, 2.0), Latency(1.0, 1.0)),
    ]
    assert isolation.render(pairs).endswith(f"goal: p99 within 1.2x: {verdict}")


def test_requests_are_sent_at_the_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[float] = []

    async def send() -> None:
        last = asyncio.Event()

        def record(_: Connection, number: int, raw: bytes) -> None:
            sent.append(time.monotonic())
            if len(sent) == 10:
                last.set()

        monkeypatch.setattr(Connection, "send", record)
        client = PacedClient([Request("/predict", "{}", [])], rate=200, connections=2)
        connections = [Connection(client), Connection(client)]
        client._connections = connections
        for _ in range(5):
            for connection in connections:
                client.send_next(connection)
        await last.wait()

    asyncio.run(send())
    # Ten requests of two connections at 200 a second need 40 ms.
    assert sent[-1] - sent[0] > 0.03
