"""Samples of metrics, and those of which only the latest counts, in whatever order they are found."""

from __future__ import annotations

from dataclasses import dataclass, field

Labels = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Sample:
    """One value of a metric of the table; `labels` are in the table's order."""

    name: str
    labels: Labels
    value: float


@dataclass(slots=True)
class Latest:
    """For each metric and its labels the value of the latest moment, in seconds since the epoch."""

    _values: dict[tuple[str, Labels], tuple[float, float]] = field(default_factory=dict)

    def note(self, name: str, labels: Labels, moment: float, value: float | None = None) -> None:
        """Take a value, by default the moment itself, unless a later one is known."""
        key = (name, labels)
        if moment >= self.moment(name, labels):
            self._values[key] = (moment, moment if value is None else value)

    def moment(self, name: str, labels: Labels) -> float:
        """Return of when the known value is; where there is none, of before all times."""
        return self._values.get((name, labels), (float("-inf"), 0.0))[0]

    def labels(self, name: str) -> list[Labels]:
        """Return the labels that a metric is known with."""
        return [labels for known, labels in self._values if known == name]

    def samples(self) -> list[Sample]:
        """Return all that is known."""
        return [Sample(name, labels, value) for (name, labels), (_, value) in self._values.items()]
