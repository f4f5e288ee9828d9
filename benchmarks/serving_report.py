"""Report of the serving benchmark: the cost of a request on each server relative to `hello`, and the goals."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from benchmarks.http_load import Measurement

# The goals: CPU relative to hello, CPU of the nearest model server relative to the service, and p99.
MAX_CPU_RATIO, MIN_PEER_RATIO, P99_RATIO, P99_MS = 5.0, 4.0, 2.0, 2.0
ALONE, MANY = 1, 16
# The measurements of each round by server name and number of connections.
Cells = Mapping[str, Mapping[int, Sequence[Measurement]]]
_HEAD = ("CPU us c=1", "CPU us c=16", "x hello c=16", "QPS c=16", "p50/p99 ms c=1", "p50/p99 ms c=16")


@dataclass(frozen=True, slots=True)
class Goal:
    """A goal, the measured value, and whether the goal is met; None if it could not be measured."""

    description: str
    measured: str
    met: bool | None


def cpu(measurement: Measurement) -> float:
    """Return the CPU time of the server for a request in microseconds."""
    return 1e6 * measurement.cpu / measurement.answers


def over(cells: Cells, name: str, other: str, connections: int = MANY) -> list[float]:
    """Return the ratio of CPU per request of a server to another one, for each round."""
    pairs = zip(cells[name][connections], cells[other][connections], strict=True)
    return [cpu(measurement) / cpu(reference) for measurement, reference in pairs]


def goals(cells: Cells, hello: str, own: Sequence[str], peers: Sequence[str]) -> list[Goal]:
    """Return the goals with the measured values, for each endpoint of the service.

    Args:
        cells: the measurements.
        hello: the name of the reference server.
        own: the names of the service's endpoints; empty if it was not measured.
        peers: the names of the other model servers.
    """
    results = []
    for name in own:
        ratio = median(over(cells, name, hello))
        description = f"{name}: CPU of a request at most {MAX_CPU_RATIO:g} x hello"
        results.append(Goal(description, f"{ratio:.2f} x", ratio <= MAX_CPU_RATIO))
        results.append(_peer_goal(cells, name, peers))
        max_p99 = P99_RATIO * _median(cells, hello, MANY, _p99) + P99_MS
        p99 = _median(cells, name, MANY, _p99)
        description = f"{name}: p99 at c={MANY} at most {P99_RATIO:g} x hello's + {P99_MS:g} ms"
        results.append(Goal(description, f"{p99:.2f} ms of {max_p99:.2f} ms", p99 <= max_p99))
    return results


def _peer_goal(cells: Cells, name: str, peers: Sequence[str]) -> Goal:
    description = f"{name}: at least {MIN_PEER_RATIO:g} x less CPU than the nearest model server"
    if not peers:
        return Goal(description, "no model server was measured", None)
    nearest = min(peers, key=lambda peer: _median(cells, peer, MANY, cpu))
    ratio = median(over(cells, nearest, name))
    return Goal(description, f"{ratio:.2f} x less than {nearest}", ratio >= MIN_PEER_RATIO)


def render(cells: Cells, hello: str, goals: Sequence[Goal], skipped: Mapping[str, str], about: str) -> str:
    """Return the table, the skipped servers with their reasons, and the goals."""
    lines = [about, "median (min) over the rounds", "", _row("", _HEAD)]
    lines += [_row(name, _figures(cells, name, hello)) for name in cells]
    lines += ["", *(f"skipped {name}: {reason}" for name, reason in skipped.items())] if skipped else []
    lines.append("")
    for goal in goals:
        verdict = {True: "met", False: "missed", None: "unmeasured"}[goal.met]
        lines.append(f"{verdict:<11}{goal.description}: {goal.measured}")
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


def _p99(measurement: Measurement) -> float:
    return measurement.p99_ms


def _median(cells: Cells, name: str, connections: int, metric: Callable[[Measurement], float]) -> float:
    return median(map(metric, cells[name][connections]))


def _row(name: str, values: Sequence[str]) -> str:
    return f"{name:<20}" + "".join(f"{value:>17}" for value in values)
