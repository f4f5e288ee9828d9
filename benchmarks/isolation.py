"""Benchmark of a service of three pipelines: latency of two of them while the model of the third one hangs."""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple

from benchmarks.http_load import Client, Connection, Request, percentile
from benchmarks.measure import machine
from tests.serving import published_models
from tests.serving.running_service import CLI, Running

ROUNDS, SECONDS, RATE = 5, 10.0, 200.0
GOAL = 1.2
FAULTY, OTHERS = "credit", ("sales", "parts")
# Only the faulty pipeline has a version of this name.
_LATEST = "model_v1.1"
_CONNECTIONS, _WARMUP_SECONDS = 16, 2.0


class PacedClient(Client):
    """Connections that send requests at a fixed rate; each sends its next one when it is due."""

    def __init__(self, requests: Sequence[Request], rate: float, connections: int) -> None:
        super().__init__(requests)
        self._step = connections / rate
        self._due: dict[Connection, float] = {}

    def send_next(self, connection: Connection) -> None:
        """Send the next request when it is due, or at once if that is past."""
        loop = asyncio.get_running_loop()
        first = loop.time() + self._step * len(self._due) / max(1, len(self._connections))
        due = self._due[connection] = max(loop.time(), self._due.get(connection, first - self._step) + self._step)
        loop.call_at(due, super().send_next, connection)


class Latency(NamedTuple):
    """Percentiles of the pipelines whose models work, in milliseconds."""

    p50: float
    p99: float


def main(given: Sequence[str] = ()) -> None:
    """Measure in pairs, without and with the hanging model, and print the ratio.

    Raises:
        BenchmarkError: a request got another status than 200.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks isolation", description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument("--rate", type=float, default=RATE, help="requests per second of each pipeline")
    options = parser.parse_args(given)
    print(f"{options.rounds} rounds of {options.seconds:g} s, {options.rate:g} requests/s per pipeline, {machine()}")
    pairs = []
    with tempfile.TemporaryDirectory(prefix="aiw-benchmark-") as name:
        folder = Path(name)
        (faults := folder / "faults").mkdir()
        for pipeline, seed in ((FAULTY, 0), (FAULTY, 1), *((other, 0) for other in OTHERS)):
            published_models.publish(folder / "var", seed, name=pipeline)
        variables = published_models.project(folder, FAULTY, *OTHERS, inference={"deadline_ms": 200})
        with Running(None, folder / "var", faults, CLI, **variables) as service:
            asyncio.run(_measure(service.port, _WARMUP_SECONDS, options.rate))
            for _ in range(options.rounds):
                calm = asyncio.run(_measure(service.port, options.seconds, options.rate))
                (faults / _LATEST).write_text("hang")
                pairs.append((calm, asyncio.run(_measure(service.port, options.seconds, options.rate))))
                (faults / _LATEST).unlink()
                service.until(lambda: service.ready()["state"] == "ok")
    print(render(pairs))


def render(pairs: Sequence[tuple[Latency, Latency]]) -> str:
    """Return the figures and whether the goal is met."""
    lines = ["latency of the others, ms   without / with a hanging model   ratio"]
    ratios = {}
    for name in Latency._fields:
        calm, harmed = (median(getattr(each, name) for each in those) for those in zip(*pairs, strict=True))
        ratios[name] = median(getattr(harmed, name) / getattr(calm, name) for calm, harmed in pairs)
        lines.append(f"{name:24} {calm:10.2f} / {harmed:.2f} {ratios[name]:26.2f}")
    verdict = "met" if ratios["p99"] <= GOAL else "missed"
    return "\n".join([*lines, f"goal: p99 within {GOAL:g}x: {ratios['p99']:.2f}, {verdict}"])


async def _measure(port: int, seconds: float, rate: float) -> Latency:
    """Send requests to all pipelines at the same time, and return the latency of those whose models work."""
    body = json.dumps({"rows": [published_models.ROW]})
    clients = {
        name: PacedClient([Request(f"/predict/{name}", body, [])], rate, _CONNECTIONS) for name in (FAULTY, *OTHERS)
    }
    for client in clients.values():
        await client.connect(port, _CONNECTIONS)
    await asyncio.gather(*(client.run(seconds) for client in clients.values()))
    times = sorted(1000 * each for name in OTHERS for each in clients[name].latencies)
    return Latency(percentile(times, 0.5), percentile(times, 0.99))
