"""Benchmark of hangs: latency while a version hangs repeatedly, and the time to recovery after the last hang."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from benchmarks import hangs_report
from benchmarks.hangs_report import Answer, Measured, Phase
from benchmarks.http_load import Client, Connection, Request
from benchmarks.measure import BenchmarkError, machine
from benchmarks.running_server import cpus, pinned
from tests.serving import published_models
from tests.serving.running_service import Running

LATEST, STABLE = "model_v1.1", "model_v1.0"
CONNECTIONS, HEALTHY_SECONDS, SECONDS = 16, 5.0, 14.0
DEADLINE_MS = 1000
# Measured after the last hang: at least this long, and until `latest` has served all requests for a while.
_AFTER_SECONDS, _SETTLED_SECONDS, _MAX_RECOVERY_SECONDS = 2.0, 1.0, 90.0
_WARMUP_SECONDS, _STOP_EVERY_SECONDS = 0.5, 0.1


class RecordingClient(Client):
    """Connections that record the version and time of each response."""

    def __init__(self, requests: Sequence[Request]) -> None:
        super().__init__(requests)
        self.answers: list[Answer] = []
        self._known = {
            name: max(published_models.answers(seed, [published_models.ROW])[0])
            for seed, name in enumerate((STABLE, LATEST))
        }

    def on_response(self, connection: Connection, status: int, body: bytes, seconds: float) -> None:
        """Record and check a response, and send the next request."""
        now = time.perf_counter()
        if status == 200:
            response = json.loads(body)
            version, row = response["model_version"], response["predictions"][0]
            self.answers.append(Answer(now, seconds, version))
            if version in self._known and not published_models.is_close(row["score"], self._known[version]):
                self.failed(f"{version} answered {row['score']!r}, not {self._known[version]!r}")
                return
        super().on_response(connection, status, body, seconds)


def main(given: Sequence[str] = ()) -> None:
    """Measure, and print the figures with those of the healthy service.

    Raises:
        BenchmarkError: a response was wrong or missing.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks hangs", description=__doc__)
    parser.add_argument(
        "--seconds", type=float, default=SECONDS, help="seconds in which the processes of latest are stopped"
    )
    parser.add_argument("--healthy", type=float, default=HEALTHY_SECONDS, help="seconds without a fault before")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args(given)
    about = machine()
    with tempfile.TemporaryDirectory(prefix="hangs-") as name, _service(Path(name)) as service:
        measured = asyncio.run(_measure(service, options.healthy, options.seconds))
    print(f"{about}; {CONNECTIONS} connections, deadline {DEADLINE_MS} ms\n")
    print(hangs_report.render(measured, LATEST, CONNECTIONS))
    if options.json:
        options.json.write_text(json.dumps(asdict(hangs_report.figures(measured, LATEST)), indent=1) + "\n")


@contextmanager
def _service(folder: Path) -> Iterator[Running]:
    """Yield a service with two versions, on a separate CPU if there are two."""
    for seed in (0, 1):
        published_models.publish(folder / "store", seed)
    pipeline = published_models.pipeline(folder, inference={"deadline_ms": DEADLINE_MS})
    server, client = cpus()
    with pinned(server):
        running = Running(pipeline, folder / "store", OMP_NUM_THREADS="1")
    with running, pinned(client):
        yield running


async def _measure(service: Running, healthy: float, seconds: float) -> Measured:
    """Measure without a fault, with hangs, and after the last one."""
    request = Request("/predict", json.dumps({"rows": [published_models.ROW]}), [])
    client = RecordingClient([request])
    await client.connect(service.port, CONNECTIONS)
    await client.run(_WARMUP_SECONDS)
    before = await _phase(client, healthy)
    with _stop_repeatedly(service) as stopped:
        during = await _phase(client, seconds)
    ended = time.perf_counter()
    after = await _phase(client, _AFTER_SECONDS)
    while not hangs_report.is_settled(after, LATEST, _SETTLED_SECONDS):
        if time.perf_counter() - ended > _MAX_RECOVERY_SECONDS:
            raise BenchmarkError(f"{LATEST} had not recovered {_MAX_RECOVERY_SECONDS:g} s after the last hang")
        more = await _phase(client, _SETTLED_SECONDS)
        after = Phase(after.began, more.ended, (*after.answers, *more.answers))
    return Measured(before, during, after, ended, len(stopped), DEADLINE_MS / 1000)


async def _phase(client: RecordingClient, seconds: float) -> Phase:
    client.answers = []
    started_at = time.perf_counter()
    await client.run(seconds)
    return Phase(started_at, time.perf_counter(), tuple(client.answers))


@contextmanager
def _stop_repeatedly(service: Running) -> Iterator[set[int]]:
    """Stop each process of `latest` until the context ends; yield the stopped processes."""
    finished, stopped = threading.Event(), set[int]()

    def stop() -> None:
        while not finished.wait(_STOP_EVERY_SECONDS):
            pid = service.workers().get(LATEST)
            if pid is None or pid in stopped:
                continue
            try:
                os.kill(pid, signal.SIGSTOP)
            except ProcessLookupError:
                continue
            stopped.add(pid)

    thread = threading.Thread(target=stop, daemon=True)
    thread.start()
    try:
        yield stopped
    finally:
        finished.set()
        thread.join()
