"""Soak test: traffic, deployments, restarts and hot reloads for 15 minutes must not send any chat message."""

from __future__ import annotations

import argparse
import itertools
import logging
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from ai_workflow.telemetry import journal
from benchmarks.measure import BenchmarkError, machine
from tests.monitoring import accelerated_slos, event_emitters
from tests.monitoring.monitoring_stack import Stack
from tests.serving import published_models
from tests.serving.running_service import dumps
from tests.serving.traffic import Traffic

MINUTES, RATE = 15.0, 20.0
EVERY = 40.0
_CHANNEL = "slack"


@dataclass
class Heartbeat:
    """A receiver of heartbeats, which arrive as long as alerts are delivered; `calls` has their times."""

    port: int = 0
    calls: list[float] = field(default_factory=list)


def main(given: Sequence[str] = ()) -> None:
    """Run, and print the chat messages.

    Raises:
        BenchmarkError: there were chat messages, or heartbeats are missing.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=MINUTES)
    options = parser.parse_args(given)
    with tempfile.TemporaryDirectory(prefix="soak-") as name, _heartbeat() as heartbeat:

        def promises(*given: Any) -> dict[str, Any]:
            found = accelerated_slos.own(*given)
            found["places"]["heartbeat"] = f"http://127.0.0.1:{heartbeat.port}/"
            return found

        with Stack(Path(name), (_CHANNEL,), promises, {"due/scoring": 1.0}).running() as stack:
            done = _live(stack, options.minutes * 60)
            messages = stack.vendors.texts(_CHANNEL)
    print(f"{machine()}; {options.minutes:g} minutes: {', '.join(f'{count} x {what}' for what, count in done.items())}")
    print(f"heartbeats: {len(heartbeat.calls)}; messages in chat: {len(messages)}")
    if messages or len(heartbeat.calls) < options.minutes - 1:
        raise BenchmarkError("\n".join(["there were chat messages, or heartbeats are missing:", *messages]))


def _live(stack: Stack, seconds: float) -> dict[str, int]:
    """Run a service under traffic, and return the number of operations by kind."""
    done: dict[str, int] = {}
    seeds = itertools.count(2)
    callers = event_emitters.Callers(stack.service, stack.store)

    def evaluate() -> None:
        callers.http = stack.service.http
        callers.label(right=True)

    chores: dict[str, Callable[[], object]] = {
        "training": lambda: event_emitters.run_once(stack.store, published_models.PIPELINE, "training", "trainer"),
        "new version": lambda: published_models.publish(stack.root, next(seeds)),
        "evaluation": evaluate,
        "restart of the service": lambda: _restarted(stack.service.process, stack.start_service),
        "scoring": lambda: event_emitters.run_once(stack.store, "due", "scoring", "inference"),
        "restart of the exporter": lambda: _restarted(stack.exporter.process, stack.start_exporter),
        "cancelled run": lambda: event_emitters.run_once(
            stack.store, "due", "evaluation", "label_joiner", journal.CACHED
        ),
    }
    until = time.monotonic() + seconds
    logging.getLogger("ai_workflow").setLevel(logging.ERROR)
    with Traffic(stack.service.port, dumps([published_models.ROW]), rate=RATE):
        for what, chore in itertools.cycle(chores.items()):
            if time.monotonic() > until:
                return done
            chore()
            done[what] = done.get(what, 0) + 1
            time.sleep(min(EVERY, max(0.0, until - time.monotonic())))
    return done


def _restarted(process: Any, start: Callable[[], None]) -> None:
    process.terminate()
    process.wait(60)
    start()


@contextmanager
def _heartbeat() -> Iterator[Heartbeat]:
    heartbeat = Heartbeat()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            heartbeat.calls.append(time.monotonic())
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    heartbeat.port = server.server_address[1]
    threading.Thread(target=server.serve_forever, args=(0.1,), daemon=True).start()
    try:
        yield heartbeat
    finally:
        server.shutdown()
        server.server_close()
