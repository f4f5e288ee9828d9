"""Stores with runs in them, and real exporters that look at them."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

from ai_workflow.exporter.failures import Failures
from ai_workflow.exporter.journal_source import JournalSource
from ai_workflow.exporter.samples import Sample
from ai_workflow.storage.store import Store
from ai_workflow.telemetry import journal
from ai_workflow.telemetry.journal import Event, Journal
from tests import services
from tests.patience import PATIENCE

ROOT = Path(__file__).parents[3]
SOURCES = ("journal", "checkpoints", "registry", "evaluations", "disk", "expected", "prefect")
# Long ago, so that no folder is young.
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC).timestamp()


class Book:
    """Writes a run's events, one after the other; `at` is the second after noon."""

    def __init__(self, store: Store, trace_id: str = "a" * 32, flow: str = "training", **more: Any) -> None:
        self._journal, self.trace_id, self._flow = Journal(store), trace_id, flow
        self._more = {"pipeline": "credit", **more}

    def say(self, stage: str, status: str, at: float, seconds: float | None = None, **numbers: float) -> None:
        """Write an event."""
        moment = datetime.fromtimestamp(NOON + at, UTC).isoformat(timespec="milliseconds")
        about = {"trace_id": self.trace_id, "flow": self._flow, "stage": stage, "status": status, "time": moment}
        self._journal.write(Event(**{**about, "seconds": seconds, "numbers": numbers, **self._more}))

    def run(self, at: float, status: str = journal.SUCCESS, *stages: str) -> None:
        """Write a whole run of ten seconds a stage; the last stage ends as the run does."""
        self.say(journal.RUN, journal.STARTED, at)
        for number, stage in enumerate(stages, 1):
            self.say(stage, journal.STARTED, at + 10 * (number - 1))
            ends = status if number == len(stages) else journal.SUCCESS
            self.say(stage, ends, at + 10 * number, 10.0, rows=100.0 * number)
        self.say(journal.RUN, status, at + 10 * len(stages), 10.0 * len(stages))


def told(samples: list[Sample]) -> dict[str, float]:
    """Return samples as `name{label,label}`, moments as seconds after noon."""
    return {
        f"{sample.name}{{{','.join(sample.labels)}}}" if sample.labels else sample.name: sample.value
        - (NOON if sample.name.endswith("timestamp_seconds") and sample.value else 0)
        for sample in samples
    }


def looked(store: Store, failures: Failures | None = None) -> dict[str, float]:
    """Return what an exporter that has just been started reads off the journal."""
    return told(JournalSource(store, failures or Failures(SOURCES)).collect())


class Exporting:
    """A real exporter, as a process; it listens on a free port, if none is given."""

    def __init__(self, root: Path, port: int | None = None, **env: str) -> None:
        self.port = port or services.free_port()
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("AIW_", "PREFECT_"))}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "ai_workflow", "exporter", "--store", str(root), "--port", str(self.port)],
            cwd=ROOT, env=kept | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'src'}"} | env,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def __enter__(self) -> Exporting:
        self.until(lambda found: "exporter_last_collect_timestamp_seconds" in found)
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.communicate(timeout=120)

    def metrics(self) -> dict[str, float]:
        """Return every sample by its name and labels, as they are written; nothing where nobody answers."""
        try:
            text = scrape(self.port)
        except OSError:
            return {}
        lines = [line for line in text.splitlines() if not line.startswith("#")]
        return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}

    def until(self, holds: Callable[[dict[str, float]], bool], seconds: float = PATIENCE) -> dict[str, float]:
        """Scrape until something holds, and return what was scraped; fail the test where it does not."""
        deadline = time.monotonic() + seconds
        while True:
            found = self.metrics()
            if holds(found):
                return found
            assert self.process.poll() is None, self.process.communicate()[1]
            assert time.monotonic() < deadline, found
            time.sleep(0.05)


def scrape(port: int, accept: str = "text/plain") -> str:
    """Return what is exposed on a port of this machine."""
    with urlopen(Request(f"http://127.0.0.1:{port}/metrics", headers={"accept": accept}), timeout=10) as answer:
        text: str = answer.read().decode()
    return text
