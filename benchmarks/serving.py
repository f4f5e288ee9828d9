"""What a prediction over HTTP costs: this project's service beside a bare hello, FastAPI and the model servers."""

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
from benchmarks.http_load import Found, Load, Request
from benchmarks.measure import BenchmarkError, machine
from benchmarks.peer_environment import Skipped
from benchmarks.running_server import Running, cpus, running
from benchmarks.serving_peers import HELLO, OURS, SERVERS, Server
from benchmarks.serving_report import ALONE, MANY

ROUNDS, SECONDS = 5, 1.5
_WARMUP = 0.2


class Bench:
    """The servers that run, each of them ready, and how they are asked; and those that do not run, with the reason."""

    def __init__(self, made: serving_model.Made, servers: Sequence[Server], folder: Path, stack: ExitStack) -> None:
        self.server_cpu, self.client_cpu = cpus()
        self.skipped: dict[str, str] = {}
        self.measured: dict[str, Server] = {}
        self._running: dict[str, Running] = {}
        self._requests: dict[str, list[Request]] = {}
        for server in servers:
            command, place = partial(server.command, made), folder / server.name
            try:
                found = stack.enter_context(running(command, server.ready, self.server_cpu, place))
            except Skipped as reason:
                # Without these two there is nothing to compare.
                if server.name in (HELLO, OURS):
                    raise BenchmarkError(f"{server.name}: {reason}") from reason
                self.skipped[server.name] = str(reason)
                continue
            for name, question in server.questions.items():
                self.measured[name], self._running[name] = server, found
                self._requests[name] = question.requests(made)

    def about(self) -> str:
        """Return the versions of the peers, and where everything runs."""
        peers = dict.fromkeys(server.requirements[0] for server in self.measured.values() if server.peer)
        shared = [f"{name}=={version(name)}" for name in ("uvicorn", "fastapi", "lightgbm")]
        place = f"servers on CPU {self.server_cpu}, client on CPU {self.client_cpu}"
        if self.server_cpu == self.client_cpu:
            place = "only one CPU, of which the client takes its share: believe the CPU figures alone"
        return f"{', '.join([*shared, *peers])}; {place}"

    def check(self) -> None:
        """Ask every server about every row once, and more.

        Raises:
            BenchmarkError: one answers anything else than the model.
        """
        for name in self.measured:
            self.cell(name, ALONE, _WARMUP)

    def round(self, number: int, seconds: float) -> Iterator[tuple[str, int, Found]]:
        """Measure every server once, every second round the other way round.

        Raises:
            BenchmarkError: an answer was wrong.
        """
        names = list(self.measured)
        for connections in (ALONE, MANY):
            for name in names if number % 2 else reversed(names):
                yield name, connections, self.cell(name, connections, seconds)

    def cell(self, name: str, connections: int, seconds: float) -> Found:
        """Load one server for so many seconds, from a process of its own on the other CPU.

        Raises:
            BenchmarkError: an answer was wrong, or none came.
        """
        server = self._running[name]
        load = Load(server.port, server.pid, connections, _WARMUP, seconds, self._requests[name])
        try:
            return http_load.apart(load, self.client_cpu)
        except BenchmarkError as error:
            raise BenchmarkError(f"{name}, asked over {connections} connections: {error}") from error


def main(given: Sequence[str] = ()) -> None:
    """Measure, print the table and the goals, and write them as JSON if asked to.

    Raises:
        BenchmarkError: an answer was wrong, so there is nothing to report.
    """
    options = _options(given)
    for name in [name for name in os.environ if name.startswith("AIW_")]:
        del os.environ[name]
    about = f"{options.rounds} rounds of {options.seconds:g} s, {machine()}"
    chosen = [server for server in SERVERS if server.name in {*options.only, HELLO}]
    with _bench(chosen) as bench:
        about = f"{about}\n{bench.about()}"
        bench.check()
        cells: dict[str, dict[int, list[Found]]] = {name: {ALONE: [], MANY: []} for name in bench.measured}
        for number in range(options.rounds):
            for name, connections, found in bench.round(number, options.seconds):
                cells[name][connections].append(found)
    ours = [name for name, server in bench.measured.items() if server.name == OURS]
    goals = serving_report.goals(cells, HELLO, ours, [name for name, server in bench.measured.items() if server.peer])
    print(serving_report.render(cells, HELLO, goals, bench.skipped, about))
    if options.json:
        _write(options.json, {"about": about, "skipped": bench.skipped, "goals": list(map(asdict, goals))}, cells)


def _options(given: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks serving", description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"every second one in reverse order ({ROUNDS})")
    parser.add_argument("--seconds", type=float, default=SECONDS, help=f"for each server and load ({SECONDS})")
    names = [server.name for server in SERVERS]
    parser.add_argument("--only", help=f"some of {','.join(names)}; {HELLO} always runs")
    parser.add_argument("--json", type=Path, help="write every figure there too")
    options = parser.parse_args(given)
    options.only = options.only.split(",") if options.only else names
    if unknown := set(options.only) - set(names):
        parser.error(f"there is no server {sorted(unknown)[0]!r}; there is: {', '.join(names)}")
    return options


@contextmanager
def _bench(chosen: Sequence[Server]) -> Iterator[Bench]:
    """Give a bench whose servers all run, in a folder of its own; both are gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="aiw-benchmark-") as name, ExitStack() as stack:
        folder = Path(name)
        yield Bench(serving_model.make(folder), chosen, folder / "servers", stack)


def _write(file: Path, body: Mapping[str, object], cells: Mapping[str, Mapping[int, Sequence[Found]]]) -> None:
    runs = {name: {load: list(map(asdict, those)) for load, those in each.items()} for name, each in cells.items()}
    file.write_text(json.dumps({**body, "runs": runs}, indent=1) + "\n")
