"""Benchmark of overload: latency of well-behaved clients beside slow, oversized or unauthenticated requests."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from benchmarks import http_load, serving_model
from benchmarks.abusers import KINDS, TOKEN
from benchmarks.http_load import Load, Measurement, Request
from benchmarks.measure import BenchmarkError, machine
from benchmarks.running_server import Running, cpus, pinned, running
from benchmarks.serving_model import ROOT

ROUNDS, SECONDS = 3, 3.0
GOAL = 2.0
_CONNECTIONS, _WARMUP = 4, 0.5
# The load runs this long before the measurement starts.
_LEAD = 2.0


def main(given: Sequence[str] = ()) -> None:
    """Measure in pairs, without and with each kind of load, and print the ratios.

    Raises:
        BenchmarkError: a well-behaved client got a wrong response, or none.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks abuse", description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument("--only", help=f"some of {','.join(KINDS)}")
    options = parser.parse_args(given)
    kinds = options.only.split(",") if options.only else list(KINDS)
    if unknown := set(kinds) - set(KINDS):
        parser.error(f"unknown load {sorted(unknown)[0]!r}. Loads: {', '.join(KINDS)}")
    print(f"{options.rounds} rounds of {options.seconds:g} s, {_CONNECTIONS} well-behaved connections, {machine()}")
    pairs: dict[str, list[tuple[Measurement, Measurement]]] = {kind: [] for kind in kinds}
    with tempfile.TemporaryDirectory(prefix="aiw-benchmark-") as name:
        model = serving_model.make(Path(name))
        with _service(model, Path(name)) as server:
            for _ in range(options.rounds):
                for kind in kinds:
                    calm = _healthy(server, model, options.seconds)
                    with _load(kind, server.port, options.seconds):
                        pairs[kind].append((calm, _healthy(server, model, options.seconds)))
    print(render(pairs))


def render(pairs: Mapping[str, Sequence[tuple[Measurement, Measurement]]]) -> str:
    """Return the table and whether the goal is met."""
    lines = ["load    p99 ms without / with   ratio   requests/s without / with"]
    worst = 0.0
    for kind, runs in pairs.items():
        calm, harmed = (median(each.p99_ms for each in those) for those in zip(*runs, strict=True))
        rates = [median(each.answers / each.seconds for each in those) for those in zip(*runs, strict=True)]
        ratio = median(harmed.p99_ms / calm.p99_ms for calm, harmed in runs)
        worst = max(worst, ratio)
        lines.append(f"{kind:7} {calm:8.2f} / {harmed:.2f}  {ratio:10.2f}   {rates[0]:8.0f} / {rates[1]:.0f}")
    verdict = "met" if worst <= GOAL else "missed"
    return "\n".join([*lines, f"goal: p99 of well-behaved clients within {GOAL:g}x: {worst:.2f}, {verdict}"])


@contextmanager
def _service(model: serving_model.PublishedModel, folder: Path) -> Iterator[Running]:
    guarded = folder / "guarded.yaml"
    guarded.write_text(model.pipeline.read_text() + f"service: {{token: {TOKEN}}}\n")

    def command(port: int, _: Path) -> list[str]:
        serve = ["serve", "--pipeline", str(guarded), "--store", str(model.store), "--port", str(port)]
        return [sys.executable, "-c", "from ai_workflow.cli.main import main; main()", *serve]

    with running(command, "/v2/health/ready", cpus()[0], folder / "service") as server:
        yield server


def _healthy(server: Running, model: serving_model.PublishedModel, seconds: float) -> Measurement:
    requests = [
        Request("/predict", json.dumps({"rows": [dict(zip(model.columns, row, strict=True))]}), [])
        for row in model.rows
    ]
    load = Load(server.port, server.pid, _CONNECTIONS, _WARMUP, seconds, requests, {"authorization": f"Bearer {TOKEN}"})
    return http_load.measure_in_process(load, cpus()[1])


@contextmanager
def _load(kind: str, port: int, seconds: float) -> Iterator[None]:
    """Run the load within the context, on the CPU of the client and at lower priority."""
    command = [sys.executable, "-m", "benchmarks.abusers", kind, str(port), str(seconds + 60)]
    with pinned(cpus()[1]):
        child = subprocess.Popen(["nice", "-n", "19", *command], cwd=ROOT, stdin=subprocess.DEVNULL)
    try:
        try:
            child.wait(_LEAD)
        except subprocess.TimeoutExpired:
            yield
        else:
            raise BenchmarkError(f"the load '{kind}' ended with code {child.returncode}")
    finally:
        child.kill()
        child.wait()
