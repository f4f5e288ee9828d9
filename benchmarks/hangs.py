"""What callers notice of a version that hangs again and again, and how soon it answers after the last hang."""

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
from tests.serving import shop
from tests.serving.running import Running

LATEST, STABLE = "model_v1.1", "model_v1.0"
CONNECTIONS, HEALTHY_SECONDS, SECONDS = 16, 5.0, 14.0
DEADLINE_MS = 1000
# After the last hang: at least so long, and until `latest` has answered everything for a while, if it ever does.
_AFTER_SECONDS, _SETTLED_SECONDS, _PATIENCE_SECONDS = 2.0, 1.0, 90.0
_WARMUP_SECONDS, _STOP_EVERY_SECONDS = 0.5, 0.1


class Watching(Client):
    """Connections that remember which version gave each answer, and when."""

    def __init__(self, requests: Sequence[Request]) -> None:
        super().__init__(requests)
        self.answers: list[Answer] = []
        self._known = {name: max(shop.answers(seed, [shop.ROW])[0]) for seed, name in enumerate((STABLE, LATEST))}

    def answered(self, connection: Connection, status: int, body: bytes, seconds: float) -> None:
        """Remember and check an answer, and ask again."""
        now = time.perf_counter()
        if status == 200:
            found = json.loads(body)
            version, row = found["model_version"], found["predictions"][0]
            self.answers.append(Answer(now, seconds, version))
            if version in self._known and not shop.is_close(row["score"], self._known[version]):
                self.failed(f"{version} answered {row['score']!r}, not {self._known[version]!r}")
                return
        super().answered(connection, status, body, seconds)


def main(given: Sequence[str] = ()) -> None:
    """Measure, and print the figures beside those of the healthy service.

    Raises:
        BenchmarkError: an answer was wrong, or none came.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks hangs", description=__doc__)
    parser.add_argument("--seconds", type=float, default=SECONDS, help="how long latest is stopped again and again")
    parser.add_argument("--healthy", type=float, default=HEALTHY_SECONDS, help="seconds without a fault before that")
    parser.add_argument("--json", type=Path, help="write the figures there, too")
    asked = parser.parse_args(given)
    about = machine()
    with tempfile.TemporaryDirectory(prefix="hangs-") as name, _service(Path(name)) as service:
        measured = asyncio.run(_measure(service, asked.healthy, asked.seconds))
    print(f"{about}; {CONNECTIONS} connections, deadline {DEADLINE_MS} ms\n")
    print(hangs_report.render(measured, LATEST, CONNECTIONS))
    if asked.json:
        asked.json.write_text(json.dumps(asdict(hangs_report.figures(measured, LATEST)), indent=1) + "\n")


@contextmanager
def _service(folder: Path) -> Iterator[Running]:
    """Give a service with two versions, on a CPU of its own where there are two."""
    for seed in (0, 1):
        shop.publish(folder / "store", seed)
    pipeline = shop.pipeline(folder, inference={"deadline_ms": DEADLINE_MS})
    server, client = cpus()
    with pinned(server):
        running = Running(pipeline, folder / "store", OMP_NUM_THREADS="1")
    with running, pinned(client):
        yield running


async def _measure(service: Running, healthy: float, seconds: float) -> Measured:
    """Measure without a fault, with hangs, and after the last one."""
    request = Request("/predict", json.dumps({"rows": [shop.ROW]}), [])
    client = Watching([request])
    await client.connect(service.port, CONNECTIONS)
    await client.run(_WARMUP_SECONDS)
    before = await _phase(client, healthy)
    with _stopped_again_and_again(service) as stopped:
        during = await _phase(client, seconds)
    ended = time.perf_counter()
    after = await _phase(client, _AFTER_SECONDS)
    while not hangs_report.is_settled(after, LATEST, _SETTLED_SECONDS):
        if time.perf_counter() - ended > _PATIENCE_SECONDS:
            raise BenchmarkError(f"{LATEST} was not back {_PATIENCE_SECONDS:g} s after the last hang")
        more = await _phase(client, _SETTLED_SECONDS)
        after = Phase(after.began, more.ended, (*after.answers, *more.answers))
    return Measured(before, during, after, ended, len(stopped), DEADLINE_MS / 1000)


async def _phase(client: Watching, seconds: float) -> Phase:
    client.answers = []
    began = time.perf_counter()
    await client.run(seconds)
    return Phase(began, time.perf_counter(), tuple(client.answers))


@contextmanager
def _stopped_again_and_again(service: Running) -> Iterator[set[int]]:
    """Stop each process of `latest` until the context ends; give the processes that were stopped."""
    over, stopped = threading.Event(), set[int]()

    def stop() -> None:
        while not over.wait(_STOP_EVERY_SECONDS):
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
        over.set()
        thread.join()
