"""What monitoring costs: the exporter beside a journal of 10 000 runs, and the metrics of one request."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from urllib.request import Request, urlopen

from ai_workflow.registry.registry import Registry
from ai_workflow.serving.attempt_metrics import AttemptMetrics
from ai_workflow.serving.request_metrics import RequestMetrics
from ai_workflow.serving.routing.fallback_chain import ChainResult
from ai_workflow.storage.store import Store
from ai_workflow.telemetry import journal
from ai_workflow.telemetry.journal import Event
from benchmarks import registry
from benchmarks.measure import BenchmarkError, machine, spread
from benchmarks.process_tree import cpu_seconds

ROOT = Path(__file__).resolve().parent.parent
RUNS, SECONDS = 10_000, 60.0
# A scrape, and a new run, in SECONDS.
EVERY, NEW = 15.0, 5.0
# The goals of the project: CPU seconds per second, seconds of a scrape, microseconds of a request.
SHARE, SCRAPE, REQUEST = 0.01, 0.020, 5.0
STAGES = ("data_loader", "preprocessor", "feature_engineering", "trainer", "evaluator", "registry")
PIPELINES = ("credit", "churn", "fraud", "prices")
_SEEN = "pipeline_last_success_timestamp_seconds"
_READY = 120.0
_SCRAPES, _REQUESTS = 50, 20_000


def main(given: Sequence[str] = ()) -> None:
    """Measure, and print the figures with the goals.

    Raises:
        BenchmarkError: the exporter did not come up, or did not see what is there.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks exporter", description=__doc__)
    parser.add_argument("--runs", type=int, default=RUNS)
    parser.add_argument("--seconds", type=float, default=SECONDS, help="how long its CPU is watched")
    parser.add_argument("--json", type=Path, help="write the figures there, too")
    options = parser.parse_args(given)
    with tempfile.TemporaryDirectory(prefix="exporter-") as name:
        store = Store(Path(name) / "store")
        fill(store, options.runs)
        registry.fill(Registry(store, "models/development/credit"), 20)
        found = _measure(store, options.runs, options.seconds)
    found["request us"] = spread([request_cost() for _ in range(5)])
    print(f"{machine()}; {options.runs} runs in the journal, watched for {options.seconds:g} s\n")
    goals = {"cpu share": SHARE, "scrape s": SCRAPE, "request us": REQUEST}
    for what, (least, median, most) in found.items():
        goal = goals.get(what)
        said = f"   goal under {goal:g}: {'met' if median < goal else 'missed'}" if goal else ""
        print(f"{what:<14} {least:10.4f} {median:10.4f} {most:10.4f}{said}")
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")


def fill(store: Store, runs: int) -> None:
    """Write a journal as runs leave one: each of six stages, every tenth failed in the fourth, one an hour."""
    start = datetime.now(UTC) - timedelta(hours=runs)
    for number in range(runs):
        _write(store, number, start + timedelta(hours=number), PIPELINES[number % len(PIPELINES)])


def _write(store: Store, number: int, start: datetime, pipeline: str) -> None:
    trace_id = hashlib.sha256(str(number).encode()).hexdigest()[:32]
    folder = store.local(f"{journal.FOLDER}/{trace_id}")
    folder.mkdir(parents=True)
    count, moment = 0, start

    def say(stage: str, status: str, seconds: float | None = None, **numbers: float) -> None:
        nonlocal count
        count += 1
        time_text = moment.isoformat(timespec="milliseconds")
        event = Event(
            trace_id, pipeline, "training", stage, status, "", time_text, seconds, numbers, None, 1, "elsewhere"
        )
        (folder / f"{count:04d}-{stage}-{status.lower()}.json").write_text(json.dumps(asdict(event)))

    fails = number % 10 == 9
    say(journal.RUN, journal.STARTED)
    for stage in STAGES[: 4 if fails else None]:
        say(stage, journal.STARTED)
        moment += timedelta(seconds=10)
        failed = fails and stage == "trainer"
        say(stage, journal.ERROR if failed else journal.SUCCESS, 10.0, rows=1000)
    say(journal.RUN, journal.ERROR if fails else journal.SUCCESS, 60.0)
    # As old as it says it is.
    os.utime(folder, (moment.timestamp(), moment.timestamp()))


def _measure(store: Store, runs: int, seconds: float) -> dict[str, tuple[float, float, float]]:
    with _running(store) as (process, url):
        ready = _until_ready(process, url)
        shares = []
        for _ in range(max(1, round(seconds / EVERY))):
            before, began = cpu_seconds(process.pid), time.monotonic()
            while time.monotonic() - began < min(EVERY, seconds):
                runs += 1
                _write(store, runs, datetime.now(UTC), PIPELINES[0])
                time.sleep(min(NEW, seconds))
            _scrape(url)
            shares.append((cpu_seconds(process.pid) - before) / (time.monotonic() - began))
        scrapes = [_scrape(url)[0] for _ in range(_SCRAPES)]
        memory = _memory(process.pid)
    return {
        "cpu share": spread(shares),
        "scrape s": spread(scrapes),
        "start s": (ready, ready, ready),
        "memory MiB": (memory, memory, memory),
    }


@contextmanager
def _running(store: Store) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "ai_workflow", "exporter", "--store", store.root, "--port", str(port)]
    env = {name: value for name, value in os.environ.items() if not name.startswith(("AIW_", "PREFECT_"))}
    process = subprocess.Popen(command, cwd=ROOT, env=env, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield process, f"http://127.0.0.1:{port}/metrics"
    finally:
        process.terminate()
        process.wait()


def _until_ready(process: subprocess.Popen[bytes], url: str) -> float:
    """Wait until all pipelines are seen, and return the seconds since the start of the process."""
    began = time.monotonic()
    while time.monotonic() - began < _READY:
        if process.poll() is not None:
            raise BenchmarkError(f"the exporter ended with code {process.returncode}")
        try:
            text = _scrape(url)[1]
        except OSError:
            text = ""
        if text.count(f"\n{_SEEN}{{") == len(PIPELINES):
            return time.monotonic() - began
        time.sleep(0.05)
    raise BenchmarkError(f"the exporter had not read the journal after {_READY:g} s")


def _scrape(url: str) -> tuple[float, str]:
    """Scrape as Prometheus does, and return the seconds it took."""
    request = Request(url, headers={"accept": "application/openmetrics-text;version=1.0.0"})  # noqa: S310
    began = time.perf_counter()
    with urlopen(request, timeout=10) as answer:  # noqa: S310
        text = answer.read().decode()
    return time.perf_counter() - began, text


def _memory(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def request_cost() -> float:
    """Return the microseconds of CPU that the metrics of one answered request take."""
    request_metrics = RequestMetrics("sample")
    attempts = AttemptMetrics("sample", "model_v1.0", request_metrics.exemplars)
    request_metrics.initialize("model_v1.0")
    found = SimpleNamespace(version="model_v1.0", predictions=[1], chain_result=ChainResult(None, ()), is_default=False)
    began = time.process_time()
    for _ in range(_REQUESTS):
        attempts.record_success(0.003, "0" * 32, is_fallback=False)
        request_metrics.record_response(found, 0.003, "0" * 32)  # type: ignore[arg-type]
    return (time.process_time() - began) / _REQUESTS * 1e6
