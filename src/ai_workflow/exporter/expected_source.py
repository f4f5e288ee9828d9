"""Expected intervals between runs of a flow, from the configuration or the schedule of its deployment."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ai_workflow.exporter.runs import JOURNALED
from ai_workflow.exporter.samples import Sample

NAME = "pipeline_expected_interval_seconds"
_HOUR_SECONDS = 3600.0


class ExpectedSource:
    """Expected intervals; the configuration overrides the schedule.

    Args:
        hours: configured hours by flow, for each pipeline that has run it, or by `pipeline/flow`.
        flows: returns pipeline and flow of all known runs.
        scheduled: returns the scheduled seconds by pipeline and flow.
    """

    name = "expected"

    def __init__(
        self,
        hours: Mapping[str, float],
        flows: Callable[[], list[tuple[str, str]]],
        scheduled: Callable[[], Mapping[tuple[str, str], float]],
    ) -> None:
        self._hours, self._flows, self._scheduled = hours, flows, scheduled

    def collect(self) -> list[Sample]:
        """Return the intervals in seconds."""
        intervals = {key: seconds for key, seconds in self._scheduled().items() if key[1] in JOURNALED}
        intervals |= {key: _HOUR_SECONDS * self._hours[key[1]] for key in self._flows() if key[1] in self._hours}
        for name, hours in self._hours.items():
            pipeline, slash, flow = name.partition("/")
            if slash:
                intervals[pipeline, flow] = _HOUR_SECONDS * hours
        return [Sample(NAME, key, seconds) for key, seconds in sorted(intervals.items())]
