"""A place where runs are killed, damaged and starved: one source, a store of its own, each run a real process."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from ai_workflow.registry.registry import Registry
from ai_workflow.runtime.stall_timeout import StallTimeout
from ai_workflow.storage import run_lock
from ai_workflow.storage.store import Store
from ai_workflow.telemetry import journal
from ai_workflow.telemetry.journal import Event, Journal
from tests import prefect_retry

ROOT = Path(__file__).parents[2]
FILES, ROWS, PARTITION = 3, 700, 250
EVERY, STEPS = 5, 150
PIPELINE: dict[str, Any] = {
    "pipeline": "killed",
    "task": "classification",
    "id": "row_id",
    "target": "good",
    "reject_limit": 0.1,
    "schema": {"age": {"type": "number", "nullable": True, "max": 68}},
    "trainer": {
        "steps": STEPS,
        "early_stopping": 30,
        "params": {
            "learning_rate": 0.1, "bagging_fraction": 0.7, "bagging_freq": 3, "feature_fraction": 0.6,
            "num_leaves": 15, "num_threads": 1,
        },
        "checkpoint": {"every_steps": EVERY, "keep": 2},
    },
    "evaluate": {"minimum": 0.6},
}  # fmt: skip
TRACE = "5c0e5c0e5c0e5c0e5c0e5c0e5c0e5c0e"
_SCORE = """
import asyncio, sys
from flows.scoring import scoring
state = asyncio.run(scoring(sys.argv[1], traceparent=sys.argv[2], return_state=True))
sys.exit(not state.is_completed())
"""
_LINE = re.compile(
    r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d \[([A-Z]+)\] ([\w.]+): (.*?)(?: trace=[0-9a-f]{8})?$", re.MULTILINE
)


def write_source(folder: Path) -> Path:
    """Write the CSV files that all places read, and return what `source.path` says."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(FILES):
        draw = np.random.default_rng(number)
        age, kind, noise = draw.normal(40, 10, ROWS), draw.integers(0, 4, ROWS), draw.normal(size=(ROWS, 4))
        good = age / 10 + kind + noise[:, 0] + draw.normal(0, 1, ROWS) > 5.5
        days = np.datetime64("2025-01-01") + draw.integers(0, 300, ROWS)
        lines = [
            ",".join(
                [f"r{number}-{row}", f"{age[row]:.2f}" if row % 20 else "", f"k{kind[row]}", str(days[row])]
                + [f"{value:.4f}" for value in noise[row]]
                + [str(int(good[row]))]
            )
            for row in range(ROWS)
        ]
        header = "row_id,age,kind,seen,a,b,c,d,good"
        (folder / f"rows-{number}.csv").write_text("\n".join([header, *lines]) + "\n")
    return folder / "rows-*.csv"


@dataclass(frozen=True)
class Done:
    """What a process left: its exit code (negative: the signal that ended it), and all that it printed."""

    code: int
    output: str

    def said(self, level: str = r"\w+") -> list[str]:
        """Return the messages this project logged at a level."""
        return [m[3] for m in _LINE.finditer(self.output) if re.fullmatch(level, m[1]) and m[2].startswith("ai_")]

    def step(self, text: str) -> int:
        """Return the last number that follows a text in the output, or 0."""
        found = re.findall(rf"{text}(\d+)", self.output)
        return int(found[-1]) if found else 0

    @property
    def resumed(self) -> int:
        return self.step("Restarting from step ")


class Running:
    """A run under way; its output goes to a file, so that nothing of it is lost when it is killed."""

    def __init__(self, command: list[str], folder: Path, env: dict[str, str]) -> None:
        self._output = folder / f"output-{time.monotonic_ns()}.log"
        with self._output.open("wb") as output:
            self.process = subprocess.Popen(
                command, cwd=folder, env=env, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
            )

    def until(self, there: Callable[[], Any], seconds: float = 60) -> bool:
        """Wait for something, as closely as polling can; False if the process ended first, an error if it hangs."""
        timeout = StallTimeout(self.process.pid, seconds)
        while self.process.poll() is None:
            if there():
                return True
            assert (reason := timeout.reason) is None, f"it did not come, {reason}:\n{self._output.read_text()}"
        return False

    def end(self, seconds: float = 120) -> Done:
        """Wait for the end of the process; one that hangs is killed, and fails the test."""
        timeout = StallTimeout(self.process.pid, seconds)
        while (reason := timeout.reason) is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                return Done(self.process.wait(timeout.wait_seconds), self._output.read_text(errors="replace"))
        self.kill()
        raise AssertionError(f"it hangs, {reason}:\n{self._output.read_text()}")

    def kill(self) -> Done:
        """End the process as a power cut would, at once."""
        self.process.send_signal(signal.SIGKILL)
        return Done(self.process.wait(), self._output.read_text(errors="replace"))

    def said(self, text: str) -> bool:
        return text in self._output.read_text(errors="replace")


class Place:
    """A folder with a pipeline file and all that runs leave behind, below `var`."""

    def __init__(self, folder: Path, source: Path, var: Path | None = None, **changes: Any) -> None:
        self.folder, self.source, self.changes = folder, source, dict(changes)
        self.var = var or folder / "var"
        self.store = Store(self.var)
        self.journal = Journal(self.store)
        self.registry = Registry(self.store, f"models/development/{PIPELINE['pipeline']}")
        folder.mkdir(parents=True, exist_ok=True)
        partition = changes.pop("partition_rows", PARTITION)
        body = PIPELINE | {"source": {"kind": "csv", "path": str(source), "partition_rows": partition}}
        body["trainer"] = PIPELINE["trainer"] | changes.pop("trainer", {})
        (folder / "pipeline.yaml").write_text(yaml.safe_dump(body | changes, sort_keys=False))

    def start(self, flow: str = "training", wrapper: tuple[str, ...] = (), **env: str) -> Running:
        """Start a flow as a process of its own."""
        told = ["-m", "ai_workflow", "run", flow, "--pipeline", "pipeline.yaml"]
        if flow == "scoring":
            told = ["-c", _SCORE, "pipeline.yaml", f"00-{TRACE}-5c0e5c0e5c0e5c0e-01"]
        return Running([*wrapper, sys.executable, *told], self.folder, self.environment(**env))

    def run(self, flow: str = "training", **env: str) -> Done:
        """Run a flow to its end."""
        return self.start(flow, **env).end()

    def environment(self, **env: str) -> dict[str, str]:
        """Return the environment of a child: the test server's, and nothing of the person who runs the tests."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("AIW_", "DATABASE_"))}
        return kept | {
            "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'src'}",
            "AIW_STORE": str(self.var),
            "PREFECT_LOCAL_STORAGE_PATH": str(self.var / "results"),
            "PREFECT_LOGGING_SETTINGS_PATH": str(ROOT / "config" / "logging.yaml"),
            "PREFECT_CLIENT_SERVER_VERSION_CHECK_ENABLED": "false",
            **env,
        }

    def files(self, pattern: str) -> list[Path]:
        """Return the files of the store that a glob means, sorted."""
        return sorted(path for path in self.var.glob(pattern) if path.is_file())

    def events(self) -> list[Event]:
        """Return the events of the run that began last."""
        return self.journal.read(self.journal.trace_ids()[0])

    def stages(self) -> dict[str, str]:
        """Return how each stage of the last run stands."""
        return {event.stage: event.status for event in self.events() if event.stage != journal.RUN}

    def checkpoint(self) -> int:
        """Return the step of the newest checkpoint whose record is there, or 0."""
        found = [int(path.stem.rpartition("_")[2]) for path in self.files("checkpoints/*/*/model_step_*.json")]
        return max(found, default=0)

    def vouched(self) -> dict[str, int]:
        """Return the data files that a record vouches for, each with its inode: written again, it is another."""
        records = [path for path in self.files("data/*/*.json") if path.parent.name not in ("datasets", "features")]
        return {f"{p.parent.name}/{p.name}": p.stat().st_ino for p in records}

    def outcome(self, version: str | None = None) -> dict[str, Any]:
        """Return what must be the same however often a run was killed, byte for byte."""
        found = self.registry.get(version or "latest")
        card = json.loads(self.registry.read(found, "card.json"))
        return {
            "model": [self.registry.read(found, name) for name in found.manifest["files"] if name.startswith("model.")],
            "features": self.registry.read(found, "features.json"),
            "golden": self.registry.read(found, "golden.json"),
            # Plots name no run; the card says when and by which run, apart from that it is the same.
            "card": {name: value for name, value in card.items() if name != "trace_id"},
        }

    def predictions(self) -> list[bytes]:
        """Return the Parquet files of the predictions that their manifest vouches for, in order."""
        records = self.files("predictions/*/*/*/manifest.json")
        assert len(records) == 1, records
        body = self.store.read_record(str(records[0].relative_to(self.var)))
        return [self.store.read(part["path"], part["sha256"]) for part in body["partitions"]]

    def locked(self) -> set[str]:
        """Return the ids of the flow runs whose lock file is there, held or not."""
        found = {name.removesuffix(".lock") for name in names(self.var / "runs")}
        return {name for name in found if not name.startswith(run_lock.EXCLUSIVE_PREFIX)}

    def begun(self) -> set[str]:
        """Return the ids of the flow runs that wrote into the journal."""
        runs = [self.journal.read(trace_id)[0].flow_run_id for trace_id in self.journal.trace_ids()]
        return set(filter(None, runs))

    def unfinished(self, flow_run_ids: set[str]) -> list[str]:
        """Return those flow runs, and their task runs, that Prefect takes to be under way still."""
        states = {"state": {"type": {"any_": ["RUNNING", "PENDING", "SCHEDULED", "CANCELLING", "PAUSED"]}}}
        runs = {"id": {"any_": sorted(flow_run_ids)}}
        with prefect_retry.client(os.environ["PREFECT_API_URL"]) as client:
            flows = client.post("/flow_runs/filter", json={"flow_runs": runs | states}).json()
            tasks = client.post("/task_runs/filter", json={"flow_runs": runs, "task_runs": states}).json()
        return [f"{run['name']}: {run['state_name']}" for run in flows + tasks]

    def leftovers(self, folder: str) -> list[Path]:
        """Return the half-written files below a folder of the store."""
        return [path for path in (self.var / folder).rglob("*") if path.name.endswith(".part")]


def names(folder: Path) -> Iterator[str]:
    """Yield the names in a folder at this moment; a missing one is empty."""
    try:
        with os.scandir(folder) as found:
            yield from (entry.name for entry in found)
    except OSError:
        return
