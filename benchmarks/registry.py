"""A registry with a thousand versions: what the list, the plan of a deletion and a look at the aliases take."""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from ai_workflow.config import loader
from ai_workflow.registry.change_log import ChangeLog
from ai_workflow.registry.changes import Change
from ai_workflow.registry.registry import MANIFEST, Registry
from ai_workflow.storage.store import Store
from benchmarks.measure import cost, machine, spread

ROOT = Path(__file__).resolve().parent.parent
VERSIONS, ROUNDS, LOOKS = 1000, 5, 200
# The goals of the project, in seconds.
COMMAND, LOOK = 1.0, 0.001
_CLI = "from ai_workflow.cli.main import main; main()"


def main(given: Sequence[str] = ()) -> None:
    """Measure, and print the figures with the goals."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks registry", description=__doc__)
    parser.add_argument("--versions", type=int, default=VERSIONS)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--json", type=Path, help="write the figures there, too")
    options = parser.parse_args(given)
    with tempfile.TemporaryDirectory(prefix="registry-") as name:
        folder = Path(name)
        registry = Registry(Store(folder / "store"), loader.load(None).settings.models)
        fill(registry, options.versions)
        found = {"aliases": spread([look(registry) for _ in range(LOOKS)])}
        for subcommand in (("list",), ("prune", "--dry-run")):
            command = [sys.executable, "-c", _CLI, "models", *subcommand, "--store", registry.store.root]
            seconds = [cost(command, os.environ, ROOT, folder / "log").seconds for _ in range(options.rounds)]
            found[" ".join(subcommand)] = spread(seconds)
    print(f"{machine()}; {options.versions} versions, {options.rounds} rounds; least, median and greatest\n")
    for what, (least, median, most) in found.items():
        goal = LOOK if what == "aliases" else COMMAND
        met = "met" if median < goal else "missed"
        figures = "  ".join(f"{1000 * value:9.3f}" for value in (least, median, most))
        print(f"{what:<16} {figures} ms   goal under {1000 * goal:g} ms: {met}")
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")


def fill(registry: Registry, count: int) -> None:
    """Publish many versions quickly: the files of each as `publish` leaves them, the changes as in its log."""
    store, history, start = registry.store, ChangeLog(registry.store, registry.folder), datetime.now(UTC)
    state = history.state()
    for number in range(count):
        name = f"model_v1.{number}"
        refs = {}
        for file, data in {"model.txt": b"m" * 1000, "features.json": b"{}", "card.json": b"{}"}.items():
            ref = store.write(f"{registry.folder}/{name}/{file}", data)
            refs[file] = {"sha256": ref.sha256, "bytes": ref.bytes}
        published = (start - timedelta(days=count - number)).isoformat(timespec="milliseconds")
        manifest = {"version": name, "schema": "s", "kind": "lightgbm", "published": published, "files": refs}
        store.write_record(f"{registry.folder}/{name}/{MANIFEST}", manifest)
        first = {} if number else {"stable": name}
        state = history.write(state, Change("publish", "passed the gate", [name], latest=name, newest=name, **first))


def look(registry: Registry) -> float:
    """Return the seconds that a look at the aliases takes."""
    start = time.perf_counter()
    registry.aliases()
    return time.perf_counter() - start
