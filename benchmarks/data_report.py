"""The data benchmark as text: time, memory, ratios to COPY and Polars, and goals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from benchmarks.measure import spread

OWN, COPY, POLARS, SMALL = "ai-workflow", "COPY", "Polars", "ai-workflow, 1/10"
# The goals of the project: ratios, MiB, and seconds for many columns or files.
TIMES_COPY, TIMES_POLARS, POLARS_MEMORY, MEMORY_MEBIBYTES = 3.0, 1.0, 0.5, 1024
SHAPE_SECONDS, PER_ROW = 3.0, 1.05


@dataclass(frozen=True, slots=True)
class Shape:
    """Shape of the generated table."""

    rows: int
    wide: bool = False
    files: int = 1

    def __str__(self) -> str:
        files = f" in {self.files} files" if self.files > 1 else ""
        return f"{self.rows} x {2000 if self.wide else 12}{files}"


@dataclass(frozen=True, slots=True)
class Run:
    """One process: time without its imports, whole time, and peak memory of the process tree."""

    seconds: float
    cpu: float
    whole_seconds: float
    mebibytes: float


@dataclass(frozen=True, slots=True)
class Goal:
    """A goal: its subject, the largest value allowed and the median."""

    subject: str
    most: float
    value: float

    @property
    def met(self) -> bool:
        """Return whether the median is small enough."""
        return self.value <= self.most


Runs = Mapping[str, Sequence[Run]]


def ratio(runs: Runs, subject: str, base: str, figure: str = "seconds") -> float | None:
    """Return the median of the ratios of a figure, round by round; None if one of both was not measured."""
    if not runs.get(subject) or not runs.get(base):
        return None
    pairs = zip(runs[subject], runs[base], strict=True)
    return median(getattr(run, figure) / getattr(other, figure) for run, other in pairs)


def goals(runs: Runs, shape: Shape) -> list[Goal]:
    """Return the goals that apply to the table and the measured subjects."""
    if OWN not in runs:
        return []
    seconds = median(run.seconds for run in runs[OWN])
    if shape.wide or shape.files > 1:
        return [Goal(f"seconds for {shape}", SHAPE_SECONDS, seconds)]
    per_row = ratio(runs, OWN, SMALL)
    values = [
        ("wall time / COPY", TIMES_COPY, ratio(runs, OWN, COPY)),
        ("wall time / Polars", TIMES_POLARS, ratio(runs, OWN, POLARS)),
        ("peak memory / Polars", POLARS_MEMORY, ratio(runs, OWN, POLARS, "mebibytes")),
        ("peak MiB", MEMORY_MEBIBYTES, median(run.mebibytes for run in runs[OWN])),
        ("time per row / that of 1/10 of the rows", PER_ROW, per_row / 10 if per_row else None),
    ]
    return [Goal(subject, most, value) for subject, most, value in values if value is not None]


def render(runs: Runs, reached: Sequence[Goal], skipped: str | None = None) -> str:
    """Return the table with least, median and greatest seconds and medians of the rest, and the goals."""
    lines = [_row("", "seconds", "CPU s", "whole s", "MiB", "x COPY", "CPU x COPY", "x Polars")]
    for subject, measured in runs.items():
        seconds = " / ".join(f"{value:.2f}" for value in spread([run.seconds for run in measured]))
        figures = [f"{median(getattr(run, name) for run in measured):.2f}" for name in ("cpu", "whole_seconds")]
        figures.append(f"{median(run.mebibytes for run in measured):.0f}")
        bases = ((COPY, "seconds"), (COPY, "cpu"), (POLARS, "seconds"))
        ratios = [None if subject == SMALL else ratio(runs, subject, base, figure) for base, figure in bases]
        lines.append(_row(subject, seconds, *figures, *("-" if each is None else f"{each:.2f}" for each in ratios)))
    lines.append("")
    if skipped:
        lines.append(f"peers skipped: {skipped}")
    for goal in reached:
        verdict = "met" if goal.met else "missed"
        lines.append(f"{verdict:<7}{goal.subject}: {goal.value:.2f}, at most {goal.most:g}")
    return "\n".join(lines)


def _row(name: str, seconds: str, *others: str) -> str:
    return f"{name:<18}{seconds:>24}" + "".join(f"{other:>11}" for other in others)
