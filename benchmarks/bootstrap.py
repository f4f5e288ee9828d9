"""Fifty deployments: what it takes to make them on a new server with a login, and to see that all is there."""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import yaml

from ai_workflow.local import server
from benchmarks.measure import BenchmarkError, cost, machine, spread

ROOT = Path(__file__).resolve().parent.parent
DEPLOYMENTS, ROUNDS = 50, 3
# The goals of the project, in seconds.
FIRST, AGAIN = 60.0, 10.0
_LOGIN = "bench:bench"


def main(given: Sequence[str] = ()) -> None:
    """Measure, and print the figures with the goals.

    Raises:
        BenchmarkError: the second run changed something, so that there is nothing to report.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks bootstrap", description=__doc__)
    parser.add_argument("--deployments", type=int, default=DEPLOYMENTS)
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="each with a server of its own")
    parser.add_argument("--json", type=Path, help="write the figures there, too")
    options = parser.parse_args(given)
    found: dict[str, list[float]] = {"first": [], "again": []}
    for _ in range(options.rounds):
        with tempfile.TemporaryDirectory(prefix="aiw-benchmark-") as name:
            for what, seconds in zip(found, _round(Path(name), options.deployments), strict=True):
                found[what].append(seconds)
    print(render(found, options.deployments))
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")


def write(path: Path, count: int) -> list[str]:
    """Write a prefect.yaml with that many deployments, the project's own among them; return the names of the others."""
    whole = yaml.safe_load((ROOT / "prefect.yaml").read_text())
    usual = next(one for one in whole["deployments"] if one["name"] == "scoring")
    names = [f"scoring-{number}" for number in range(count - len(whole["deployments"]))]
    path.write_text(
        yaml.safe_dump(whole | {"deployments": whole["deployments"] + [usual | {"name": n} for n in names]})
    )
    return names


def render(found: dict[str, list[float]], deployments: int) -> str:
    """Return the table, with the goals."""
    lines = [f"{machine()}; {deployments} deployments, {len(found['first'])} rounds; least, median and greatest", ""]
    for what, goal in (("first", FIRST), ("again", AGAIN)):
        figures = "  ".join(f"{value:6.1f}" for value in spread(found[what]))
        met = "met" if spread(found[what])[1] < goal else "missed"
        lines.append(f"{what:<8} {figures} s   goal under {goal:g} s: {met}")
    return "\n".join(lines)


def _round(folder: Path, count: int) -> tuple[float, float]:
    file, log = folder / "prefect.yaml", folder / "log"
    for name in ("flows", "config"):
        (folder / name).symlink_to(ROOT / name)
    write(file, count)
    with _server(folder) as variables:
        command = [sys.executable, "-m", "ai_workflow", "deploy", str(file)]
        first = cost(command, variables, ROOT, log).seconds
        again = cost(command, variables, ROOT, log).seconds
    # Its log has what Prefect warns of, too.
    if "nothing changed" not in (said := log.read_text()).splitlines():
        raise BenchmarkError(f"the second run changed something:\n{said}")
    return first, again


@contextmanager
def _server(folder: Path) -> Iterator[dict[str, str]]:
    """Give the variables by which a new server is reached; it requires a login."""
    before = dict(os.environ)
    os.environ.pop("PREFECT_API_URL", None)
    os.environ["PREFECT_SERVER_API_AUTH_STRING"] = _LOGIN
    try:
        found = server.ensure(folder)
        yield {**before, "PREFECT_API_URL": found.api_url, "PREFECT_API_AUTH_STRING": _LOGIN, "AIW_STORE": str(folder)}
    finally:
        server.stop(folder)
        os.environ.clear()
        os.environ.update(before)
