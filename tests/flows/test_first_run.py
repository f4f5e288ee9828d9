"""`make run`, on a machine of its own: one command that trains, scores, and says what there is to see."""

from __future__ import annotations

import json
import re
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from ai_workflow.config import loader
from ai_workflow.local import first_run
from ai_workflow.local.run_report import Hints
from ai_workflow.local.server import Server
from ai_workflow.storage.store import Store
from tests.flows import sample_tables
from tests.flows.workspace import Workplace

pytestmark = pytest.mark.integration

Done = subprocess.CompletedProcess[str]


class Machine(Workplace):
    """A working folder where nothing points at a server: the command starts its own, below `var/`."""

    first: Done

    def local(self, *arguments: str) -> Done:
        """Run `ai-workflow`."""
        kept = {
            name: value
            for name, value in self.environment().items()
            if not name.startswith(("PREFECT_", "AIW_")) or name == "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE"
        }
        return subprocess.run(
            [sys.executable, "-m", "ai_workflow", *arguments], cwd=self.folder, env=kept, timeout=240,
            stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
        )  # fmt: skip


@pytest.fixture(scope="module")
def machine(prefect_server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    machine = Machine(tmp_path_factory.mktemp("machine"))
    sample_tables.write(machine.folder / "rows-1.csv", sample_tables.rows(300))
    machine.configure(source={"kind": "csv", "path": "rows-*.csv"})
    # To make the tables of an empty database takes the server six seconds: it gets those of the session's server.
    home = machine.var / "prefect"
    home.mkdir(parents=True)
    with closing(sqlite3.connect(home / "prefect.db")) as copy, closing(_database(prefect_server)) as source:
        source.backup(copy)
    machine.first = machine.local("run", "--pipeline", "pipeline.yaml")
    yield machine
    machine.local("stop")


def test_first_run_trains_scores_and_prints_next_steps(machine: Machine) -> None:
    first = machine.first

    assert first.returncode == 0, first.stdout + first.stderr
    assert re.findall(r"\[TRACE:[0-9a-f]{8}\] (\w+) · finished", first.stdout) == ["training", "scoring"]
    for part in ("300 records loaded", "model_v1.0 published as latest", "300 predictions stored"):
        assert part in first.stdout
    told = dict(re.findall(r"^ *(\w[\w ]*?)  (.+)$", first.stdout, re.MULTILINE))
    assert "accuracy 0." in told["metrics"]
    assert "baseline" in told["metrics"]
    assert told["version"] == f"model_v1.0 in {machine.var}/models/development/small_credit/model_v1.0"
    assert Path(told["model card"]).read_text().startswith("# small_credit · model_v1.0")
    assert list(Path(told["predictions"].removeprefix("300 in ")).glob("*.parquet"))
    assert len((first.stdout + first.stderr).splitlines()) <= 40
    assert "make run PIPELINE=pipeline.yaml" in told["again"]
    assert {"serve", "look back", "stop"} <= told.keys()
    assert "your data" not in told, "this is the data of its user"
    shown = re.search(r"^Prefect UI: (.+)/runs$", first.stdout, re.MULTILINE)
    assert shown
    assert httpx.get(f"{shown[1]}/api/health", trust_env=False, timeout=60).text == "true"
    assert "Traceback" not in first.stdout + first.stderr


def test_second_run_is_fully_cached(machine: Machine) -> None:
    second = machine.local("run", "--pipeline", "pipeline.yaml")
    assert second.returncode == 0, second.stdout + second.stderr
    stages = re.findall(r"^  \S+ \| (\w+) +\| (\w+) +\|", second.stdout, re.MULTILINE)
    assert len(stages) == 11
    assert {status for _, status in stages} == {"CACHED"}
    assert "model_v1.0" in second.stdout


def test_missing_source_file_fails_with_single_error(machine: Machine) -> None:
    machine.configure("absent.yaml", source={"kind": "csv", "path": "absent.csv"})
    done = machine.local("run", "--pipeline", "absent.yaml")

    assert done.returncode == 1
    assert "failed in data_loader" in done.stdout
    printed = done.stdout + done.stderr
    [error] = [line for line in printed.splitlines() if "absent.csv does not exist" in line]
    assert "[ERROR] ai_pipeline.data_loader: " in error
    assert "Correct source.path" in error
    assert "Traceback" not in printed
    assert "trace --failed" in done.stderr


def test_invalid_config_is_rejected_before_server_start(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    (tmp_path / "bad.yaml").write_text("trainer: {stpes: 5}\n")
    done = machine.local("run", "--pipeline", "bad.yaml")

    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert "trainer.stpes" in done.stderr
    assert "did you mean 'steps'?" in done.stderr
    assert not machine.var.exists()


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.soak
def test_concurrent_runs_print_separate_traces(machine: Machine) -> None:
    names = ("left", "right")
    for number, name in enumerate(names):
        machine.configure(
            f"{name}.yaml", pipeline=name, source={"kind": "csv", "path": "rows-*.csv"},
            trainer=sample_tables.PIPELINE["trainer"] | {"steps": 11 + number},
        )  # fmt: skip
    with ThreadPoolExecutor(2) as pool:
        both = list(pool.map(lambda name: machine.local("run", "--pipeline", f"{name}.yaml"), names))

    for name, done in zip(names, both, strict=True):
        assert done.returncode == 0, done.stdout + done.stderr
        shown = re.findall(r"\[TRACE:([0-9a-f]{8})\] (\w+) · finished", done.stdout)
        assert [flow for _, flow in shown] == ["training", "scoring"]
        whole = [trace_id for short, _ in shown for trace_id in machine.journal.trace_ids() if trace_id[:8] == short]
        assert len(whole) == 2
        assert {event.pipeline for trace_id in whole for event in machine.journal.read(trace_id)} == {name}


@pytest.mark.parametrize("warnings", [[], ["accuracy 0.4 does not beat 0.5", "one column decides"]])
def test_run_summary_shows_quality_gate_and_warnings(tmp_path: Path, warnings: list[str]) -> None:
    gate = {"metric": "accuracy", "baseline": 0.5, "verdict": "passed, but not better than the baseline"}
    card = {"scores": {"accuracy": 0.4}, "holdout_rows": 30, "gate": gate, "warnings": warnings}
    store = Store(tmp_path)
    store.write("models/own/card.json", json.dumps(card).encode())
    results = [{"folder": "models/own", "version": "model_v1.0"}, {"rows": 10, "folder": "predictions/own"}]
    lines = first_run._summary(store, results, loader.load(None).settings, Hints()).splitlines()

    assert "        gate  accuracy 0.4000: passed, but not better than the baseline" in lines
    assert [line for line in lines if "WARN" in line] == [f"        WARN  {text}" for text in warnings]
    assert any("(baseline: accuracy 0.5000)" in line for line in lines)
    # The card of an earlier release has no unused columns.
    assert not any("left out" in line for line in lines)
    store.write("models/own/card.json", json.dumps({**card, "unused_columns": {"note": "text"}}).encode())
    shown = first_run._summary(store, results, loader.load(None).settings, Hints())
    assert "    left out  `note` (text)" in shown


def test_stop_command_stops_server(machine: Machine) -> None:
    address = re.search(r"http://\S+", machine.local("status").stdout)
    assert address
    assert machine.local("stop").stdout == "Prefect server stopped\n"

    with pytest.raises(httpx.TransportError):
        httpx.get(f"{address[0]}/api/health", trust_env=False, timeout=60)
    assert machine.local("status").returncode == 3
    assert machine.local("stop").stdout == "No Prefect server was running\n"


def _database(server: Server) -> sqlite3.Connection:
    """Open the database of a running server."""
    home = httpx.get(f"{server.api_url}/admin/settings", trust_env=False, timeout=60).json()["home"]
    return sqlite3.connect(Path(home) / "prefect.db")
