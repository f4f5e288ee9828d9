"""A place to run flows in: a folder with a store and results of its own; each run is a process of its own."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from ai_workflow.registry.registry import Registry
from ai_workflow.storage.store import Store
from ai_workflow.telemetry import journal
from ai_workflow.telemetry.journal import Event, Journal
from tests.flows import sample_tables

ROOT = Path(__file__).parents[2]
TRAINING = ("data_loader", "preprocessor", "feature_engineering", "trainer", "evaluator", "registry")
SCORING = ("data_loader", "preprocessor", "feature_engineering", "inference", "result_store")
_LINE = re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d \[([A-Z]+)\] ([\w.]+): (.*?)(?: trace=([0-9a-f]{8}))?$")
_TIMEOUT = 240


@dataclass(frozen=True)
class Line:
    """One line of the log, taken apart."""

    level: str
    logger: str
    message: str
    trace: str | None


@dataclass(frozen=True)
class Run:
    """What a run left: its exit code, all that it printed, and the events of its trace."""

    code: int
    output: str
    events: list[Event] = field(default_factory=list)

    @property
    def trace_id(self) -> str:
        return self.events[0].trace_id

    @property
    def lines(self) -> list[Line]:
        found = (_LINE.match(line) for line in self.output.splitlines())
        return [Line(*match.groups()) for match in found if match]

    def ours(self, level: str) -> list[Line]:
        """Return the lines of a level that this project wrote, not Prefect."""
        return [line for line in self.lines if line.level == level and line.logger.startswith("ai_pipeline")]

    @property
    def stages(self) -> dict[str, str]:
        """Return how each stage ended, in their order."""
        return {
            event.stage: event.status
            for event in self.events
            if event.status != journal.STARTED and event.stage != journal.RUN
        }

    @property
    def outcome(self) -> str:
        return journal.outcome(self.events)

    def of(self, stage: str) -> Event:
        """Return the event with which a stage ended."""
        return [event for event in self.events if event.stage == stage][-1]


class Workplace:
    """A folder with source files, a pipeline file, and all that runs leave behind."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.runs: list[Run] = []
        self.var = folder / "var"
        self.store = Store(self.var)
        self.journal = Journal(self.store)
        self.registry = Registry(self.store, f"models/development/{sample_tables.PIPELINE['pipeline']}")

    def copy(self, folder: Path) -> Workplace:
        """Return a copy of the place as it is now: same inputs, same store, nothing shared."""
        shutil.copytree(self.folder, folder, dirs_exist_ok=True)
        return Workplace(folder)

    def configure(self, name: str = "pipeline.yaml", **changes: Any) -> Path:
        """Write a pipeline file: that of `tables.PIPELINE`, with sections changed; None leaves one out."""
        settings = {key: value for key, value in (sample_tables.PIPELINE | changes).items() if value is not None}
        path = self.folder / name
        path.write_text(yaml.safe_dump(settings, sort_keys=False))
        return path

    def train(self, config: str | None = "pipeline.yaml", **env: str) -> Run:
        """Run the training flow as `ai-workflow run training`."""
        return self.start(self._flow("training", config), **env)

    def score(self, config: str | None = "pipeline.yaml", **env: str) -> Run:
        """Run the scoring flow as `ai-workflow run scoring`."""
        return self.start(self._flow("scoring", config), **env)

    def start(self, arguments: Sequence[str], **env: str) -> Run:
        """Run a Python process to its end, and gather what it left."""
        known = set(self.journal.trace_ids())
        done = subprocess.run(
            [sys.executable, *arguments], cwd=self.folder, env=self.environment(**env), timeout=_TIMEOUT,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
        )  # fmt: skip
        fresh = [trace_id for trace_id in self.journal.trace_ids() if trace_id not in known]
        return Run(done.returncode, done.stdout, self.journal.read(fresh[0]) if fresh else [])

    def call(self, calls: list[dict[str, Any]], **env: str) -> list[Run]:
        """Run flows one after the other in one process: `{flow, **parameters}` each.

        The code of a run is 0 if it completed; its events are those of its own trace.
        """
        (self.folder / "calls.json").write_text(json.dumps(calls))
        whole = self.start(["-m", "tests.flows.flow_calls", "calls.json"], **env)
        assert whole.code == 0, whole.output
        runs = []
        for output, call in zip(whole.output.split("\n== call ")[1:], calls, strict=True):
            ended = json.loads(output.rpartition("\n== ended ")[2].splitlines()[0])
            book = Journal(Store(ended["store"])) if ended["store"] else self.journal
            events = book.read(ended["trace_id"])
            runs.append(Run(ended["code"], output.rpartition("\n== ended ")[0], events))
            assert call["flow"]
        return runs

    def environment(self, **env: str) -> dict[str, str]:
        """Return the environment of a child: the test server's, and nothing of the person who runs the tests."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("AIW_", "DATABASE_"))}
        return kept | {
            "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'src'}",
            "AIW_STORE": str(self.var),
            "AIW_LOG_LEVEL": "INFO",
            "PREFECT_LOCAL_STORAGE_PATH": str(self.var / "results"),
            "PREFECT_LOGGING_SETTINGS_PATH": str(ROOT / "config" / "logging.yaml"),
            **env,
        }

    def files(self, pattern: str) -> list[Path]:
        """Return the files of the store that a glob means, sorted."""
        return sorted(path for path in self.var.glob(pattern) if path.is_file())

    def leftovers(self) -> list[Path]:
        """Return what only an interrupted write leaves."""
        return [path for path in self.var.rglob("*") if path.name.endswith(".part") or ".publishing-" in path.name]

    @staticmethod
    def _flow(name: str, config: str | None) -> list[str]:
        return ["-m", "ai_workflow", "run", name, *(["--pipeline", config] if config else [])]
