"""The serving benchmark as text: what a request costs on each server, over that of `hello`, and the goals."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from benchmarks.http_load import Found

# The goals of the project: CPU over that of hello, CPU of the nearest model server over ours, and p99.
MOST_HELLOS, LEAST_LESS, P99_HELLOS, P99_MS = 5.0, 4.0, 2.0, 2.0
ALONE, MANY = 1, 16
# What one server did in each round, by the number of connections; by the name in the report.
Cells = Mapping[str, Mapping[int, Sequence[Found]]]
_HEAD = ("CPU us c=1", "CPU us c=16", "x hello c=16", "QPS c=16", "p50/p99 ms c=1", "p50/p99 ms c=16")


@dataclass(frozen=True, slots=True)
class Goal:
    """What is promised, what was found, and whether that keeps it; None where it could not be measured."""

    promise: str
    found: str
    met: bool | None


def cpu(found: Found) -> float:
    """Return the microseconds of CPU that the server took for a request."""
    return 1e6 * found.cpu / found.answers


def over(cells: Cells, name: str, other: str, connections: int = MANY) -> list[float]:
    """Return how many times the CPU of another server one took for a request, round by round."""
    pairs = zip(cells[name][connections], cells[other][connections], strict=True)
    return [cpu(one) / cpu(two) for one, two in pairs]


def goals(cells: Cells, hello: str, ours: Sequence[str], peers: Sequence[str]) -> list[Goal]:
    """Return the goals of the project beside what was found, for each way to ask us.

    Args:
        cells: what was measured.
        hello: the yardstick's name.
        ours: the names of our own service's ways to be asked; nothing, if it was not measured.
        peers: the names of the model servers that were measured.
    """
    found = []
    for name in ours:
        times = median(over(cells, name, hello))
        promise = f"{name}: CPU of a request at most {MOST_HELLOS:g} x hello"
        found.append(Goal(promise, f"{times:.2f} x", times <= MOST_HELLOS))
        found.append(_less(cells, name, peers))
        most = P99_HELLOS * _median(cells, hello, MANY, _p99) + P99_MS
        late = _median(cells, name, MANY, _p99)
        promise = f"{name}: p99 at c={MANY} at most {P99_HELLOS:g} x hello's + {P99_MS:g} ms"
        found.append(Goal(promise, f"{late:.2f} ms of {most:.2f} ms", late <= most))
    return found


def _less(cells: Cells, name: str, peers: Sequence[str]) -> Goal:
    promise = f"{name}: at least {LEAST_LESS:g} x less CPU than the nearest model server"
    if not peers:
        return Goal(promise, "no model server was measured", None)
    nearest = min(peers, key=lambda peer: _median(cells, peer, MANY, cpu))
    times = median(over(cells, nearest, name))
    return Goal(promise, f"{times:.2f} x less than {nearest}", times >= LEAST_LESS)


def render(cells: Cells, hello: str, found: Sequence[Goal], skipped: Mapping[str, str], about: str) -> str:
    """Return the table, what was skipped and why, and the goals."""
    lines = [about, "median (min) over the rounds", "", _row("", _HEAD)]
    lines += [_row(name, _figures(cells, name, hello)) for name in cells]
    lines += ["", *(f"skipped {name}: {reason}" for name, reason in skipped.items())] if skipped else []
    lines.append("")
    for goal in found:
        verdict = {True: "met", False: "missed", None: "unmeasured"}[goal.met]
        lines.append(f"{verdict:<11}{goal.promise}: {goal.found}")
    return "\n".join(lines)


def _figures(cells: Cells, name: str, hello: str) -> list[str]:
    alone, many = cells[name][ALONE], cells[name][MANY]
    times = over(cells, name, hello)
    return [
        _both([cpu(each) for each in alone], ".0f"),
        _both([cpu(each) for each in many], ".0f"),
        _both(times, ".2f"),
        f"{median(each.answers / each.seconds for each in many):.0f}",
        *(f"{median(each.p50_ms for each in those):.2f} / {median(map(_p99, those)):.2f}" for those in (alone, many)),
    ]


def _both(values: Sequence[float], form: str) -> str:
    return f"{median(values):{form}} ({min(values):{form}})"


def _p99(found: Found) -> float:
    return found.p99_ms


def _median(cells: Cells, name: str, connections: int, what: Callable[[Found], float]) -> float:
    return median(map(what, cells[name][connections]))


def _row(name: str, values: Sequence[str]) -> str:
    return f"{name:<20}" + "".join(f"{value:>17}" for value in values)
