"""Benchmark of predictions over HTTP: this service, a minimal ASGI app, FastAPI and other model servers."""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from functools import partial
from importlib.metadata import version
from pathlib import Path

from benchmarks import http_load, serving_model, serving_report
from benchmarks.http_load import Load, Measurement, Request
from benchmarks.measure import BenchmarkError, machine
from benchmarks.peer_environment import PeerUnavailableError
from benchmarks.running_server import Running, cpus, running
from benchmarks.serving_peers import HELLO, SERVERS, SERVICE, Server
from benchmarks.serving_report import ALONE, MANY

ROUNDS, SECONDS = 5, 1.5
_WARMUP = 0.2


class ServerPool:
    """The running servers with their requests, and the reasons why others are skipped."""

    def __init__(
        self, model: serving_model.PublishedModel, servers: Sequence[Server], folder: Path, stack: ExitStack
    ) -> None:
        self.server_cpu, self.client_cpu = cpus()
        self.skipped: dict[str, str] = {}
        self.measured: dict[str, Server] = {}
        self._running: dict[str, Running] = {}
        self._requests: dict[str, list[Request]] = {}
        for server in servers:
            command, server_folder = partial(server.command, model), folder / server.name
            try:
                process = stack.enter_context(running(command, server.ready, self.server_cpu, server_folder))
            except PeerUnavailableError as error:
                # The comparison needs these two.
                if server.name in (HELLO, SERVICE):
                    raise BenchmarkError(f"{server.name}: {error}") from error
                self.skipped[server.name] = str(error)
                continue
            for name, endpoint in server.endpoints.items():
                self.measured[name], self._running[name] = server, process
                self._requests[name] = endpoint.requests(model)

    def about(self) -> str:
        """Return the versions of the servers, and their CPUs."""
        peers = dict.fromkeys(server.requirements[0] for server in self.measured.values() if server.peer)
        shared = [f"{name}=={version(name)}" for name in ("uvicorn", "fastapi", "lightgbm")]
        cpus_text = f"servers on CPU {self.server_cpu}, client on CPU {self.client_cpu}"
        if self.server_cpu == self.client_cpu:
            cpus_text = "one CPU for servers and client: only the CPU figures are meaningful"
        return f"{', '.join([*shared, *peers])}; {cpus_text}"

    def check(self) -> None:
        """Check the responses of every server.

        Raises:
            BenchmarkError: a response differs from the model.
        """
        for name in self.measured:
            self.cell(name, ALONE, _WARMUP)

    def round(self, number: int, seconds: float) -> Iterator[tuple[str, int, Measurement]]:
        """Measure every server once, in reverse order in every second round.

        Raises:
            BenchmarkError: a response was wrong.
        """
        names = list(self.measured)
        for connections in (ALONE, MANY):
            for name in names if number % 2 else reversed(names):
                yield name, connections, self.cell(name, connections, seconds)

    def cell(self, name: str, connections: int, seconds: float) -> Measurement:
        """Load one server for `seconds`, from a separate process on the other CPU.

        Raises:
            BenchmarkError: a response was wrong or missing.
        """
        server = self._running[name]
        load = Load(server.port, server.pid, connections, _WARMUP, seconds, self._requests[name])
        try:
            return http_load.measure_in_process(load, self.client_cpu)
        except BenchmarkError as error:
            raise BenchmarkError(f"{name}, over {connections} connections: {error}") from error


def main(given: Sequence[str] = ()) -> None:
    """Measure, print the table and the goals, and write them as JSON if requested.

    Raises:
        BenchmarkError: a response was wrong.
    """
    options = _options(given)
    for name in [name for name in os.environ if name.startswith("AIW_")]:
        del os.environ[name]
    about = f"{options.rounds} rounds of {options.seconds:g} s, {machine()}"
    chosen = [server for server in SERVERS if server.name in {*options.only, HELLO}]
    with _server_pool(chosen) as bench:
        about = f"{about}\n{bench.about()}"
        bench.check()
        cells: dict[str, dict[int, list[Measurement]]] = {name: {ALONE: [], MANY: []} for name in bench.measured}
        for number in range(options.rounds):
            for name, connections, measurement in bench.round(number, options.seconds):
                cells[name][connections].append(measurement)
    own = [name for name, server in bench.measured.items() if server.name == SERVICE]
    goals = serving_report.goals(cells, HELLO, own, [name for name, server in bench.measured.items() if server.peer])
    print(serving_report.render(cells, HELLO, goals, bench.skipped, about))
    if options.json:
        _write(options.json, {"about": about, "skipped": bench.skipped, "goals": list(map(asdict, goals))}, cells)


def _options(given: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks serving", description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"every second one in reverse order ({ROUNDS})")
    parser.add_argument("--seconds", type=float, default=SECONDS, help=f"for each server and load ({SECONDS})")
    names = [server.name for server in SERVERS]
    parser.add_argument("--only", help=f"some of {','.join(names)}; {HELLO} always runs")
    parser.add_argument("--json", type=Path, help="also write all figures to this file")
    options = parser.parse_args(given)
    options.only = options.only.split(",") if options.only else names
    if unknown := set(options.only) - set(names):
        parser.error(f"unknown server {sorted(unknown)[0]!r}. Servers: {', '.join(names)}")
    return options


@contextmanager
def _server_pool(chosen: Sequence[Server]) -> Iterator[ServerPool]:
    """Yield the running servers, in a temporary folder."""
    with tempfile.TemporaryDirectory(prefix="aiw-benchmark-") as name, ExitStack() as stack:
        folder = Path(name)
        yield ServerPool(serving_model.make(folder), chosen, folder / "servers", stack)


def _write(file: Path, body: Mapping[str, object], cells: Mapping[str, Mapping[int, Sequence[Measurement]]]) -> None:
    runs = {name: {load: list(map(asdict, those)) for load, those in each.items()} for name, each in cells.items()}
    file.write_text(json.dumps({**body, "runs": runs}, indent=1) + "\n")
