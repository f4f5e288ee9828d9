"""Metric samples, and the latest sample of each series."""

from __future__ import annotations

from dataclasses import dataclass, field

Labels = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Sample:
    """A value of a metric; `labels` are in the order of the metric table."""

    name: str
    labels: Labels
    value: float


@dataclass(slots=True)
class LatestSamples:
    """The latest value of each series; timestamps are seconds since the epoch."""

    _values: dict[tuple[str, Labels], tuple[float, float]] = field(default_factory=dict)

    def record(self, name: str, labels: Labels, timestamp: float, value: float | None = None) -> None:
        """Record a value, by default the timestamp itself, unless a later one is known."""
        key = (name, labels)
        if timestamp >= self.timestamp(name, labels):
            self._values[key] = (timestamp, timestamp if value is None else value)

    def timestamp(self, name: str, labels: Labels) -> float:
        """Return the timestamp of a series, or minus infinity if it has no value."""
        return self._values.get((name, labels), (float("-inf"), 0.0))[0]

    def labels(self, name: str) -> list[Labels]:
        """Return the labels of all series of a metric."""
        return [labels for metric, labels in self._values if metric == name]

    def samples(self) -> list[Sample]:
        """Return the latest sample of each series."""
        return [Sample(name, labels, value) for (name, labels), (_, value) in self._values.items()]
