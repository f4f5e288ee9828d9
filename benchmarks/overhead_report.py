"""The overhead benchmark as text: what each run took, what the flow adds, and whether that meets the goals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from benchmarks.measure import Cost, spread

IMPORT, BARE, COLD, CACHED = "import prefect", "bare calls", "flow cold", "flow cached"
# The goals of the project, in seconds.
COLD_ADDS = CACHED_TAKES = 1.5
Costs = Mapping[str, Sequence[Cost]]


@dataclass(frozen=True, slots=True)
class Goal:
    """What is promised, the most allowed, and the median found, in seconds."""

    promise: str
    most: float
    seconds: float
    met: bool


def goals(costs: Costs) -> list[Goal]:
    """Return the goals of the project beside what was found."""
    found = [
        ("flow cold adds to bare calls", COLD_ADDS, median(added(costs))),
        ("flow cached takes, imports included", CACHED_TAKES, median(_seconds(costs, CACHED))),
    ]
    return [Goal(promise, most, seconds, seconds <= most) for promise, most, seconds in found]


def added(costs: Costs, what: str = "seconds") -> list[float]:
    """Return how much more the cold flow took than the bare calls of the same round; `what`: seconds or cpu."""
    pairs = zip(costs[COLD], costs[BARE], strict=True)
    return [getattr(cold, what) - getattr(bare, what) for cold, bare in pairs]


def render(costs: Costs, found: Sequence[Goal], about: str) -> str:
    """Return the tables: what each took, differences with their ratios, and goals."""
    lines = [about, "", _row("min / median / max", "seconds", "CPU seconds", "peak MiB")]
    for name, those in costs.items():
        memory = f"{median(each.mebibytes for each in those):.0f}"
        lines.append(_row(name, _spread(_seconds(costs, name)), _spread([each.cpu for each in those]), memory))
    bare, unit = median(_seconds(costs, BARE)), median(_seconds(costs, IMPORT))
    lines += ["", _row("", "seconds", "CPU seconds", "x bare", "x import")]
    cached = [each.cpu for each in costs[CACHED]]
    for name, wall, cpu in (
        ("cold - bare", added(costs), added(costs, "cpu")),
        (CACHED, _seconds(costs, CACHED), cached),
    ):
        ratios = [f"{median(wall) / base:.2f}" for base in (bare, unit)]
        lines.append(_row(name, _spread(wall), _spread(cpu), *ratios))
    lines.append("")
    for goal in found:
        verdict = "met" if goal.met else "missed"
        lines.append(f"{verdict:<7}{goal.promise}: {goal.seconds:.2f} s, at most {goal.most:.2f} s")
    return "\n".join(lines)


def _row(name: str, seconds: str, cpu: str, *others: str) -> str:
    return f"{name:<20}{seconds:>24}{cpu:>24}" + "".join(f"{other:>10}" for other in others)


def _seconds(costs: Costs, name: str) -> list[float]:
    return [each.seconds for each in costs[name]]


def _spread(values: Sequence[float]) -> str:
    return " / ".join(f"{value:.2f}" for value in spread(values))
