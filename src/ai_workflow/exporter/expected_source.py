"""How often each flow of a pipeline is expected to run, by configuration, else by the schedule of its deployment."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ai_workflow.exporter.runs import JOURNALED
from ai_workflow.exporter.samples import Sample

NAME = "pipeline_expected_interval_seconds"
_HOUR = 3600.0


class ExpectedSource:
    """Says what is expected; what is configured outweighs what is scheduled.

    Args:
        hours: by flow, for each pipeline that has run it, or by `pipeline/flow`.
        flows: gives pipeline and flow of all runs there were.
        scheduled: gives the seconds that schedules say, by pipeline and flow.
    """

    name = "expected"

    def __init__(
        self,
        hours: Mapping[str, float],
        flows: Callable[[], list[tuple[str, str]]],
        scheduled: Callable[[], Mapping[tuple[str, str], float]],
    ) -> None:
        self._hours, self._flows, self._scheduled = hours, flows, scheduled

    def look(self) -> list[Sample]:
        """Return the intervals in seconds."""
        found = {key: seconds for key, seconds in self._scheduled().items() if key[1] in JOURNALED}
        found |= {key: _HOUR * self._hours[key[1]] for key in self._flows() if key[1] in self._hours}
        for name, hours in self._hours.items():
            pipeline, slash, flow = name.partition("/")
            if slash:
                found[pipeline, flow] = _HOUR * hours
        return [Sample(NAME, key, seconds) for key, seconds in sorted(found.items())]
