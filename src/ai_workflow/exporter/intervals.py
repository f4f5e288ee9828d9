"""How long a schedule goes without a run at most, so that a longer silence means something."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import islice, pairwise
from typing import Any
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

# A week holds every pause of most schedules; of rarer ones so many runs do.
_WINDOW, _FEW = timedelta(days=8), 14


def seconds(schedule: dict[str, Any]) -> float | None:
    """Return the longest pause between two runs of a Prefect schedule; None of one with a recurrence rule.

    Raises:
        ValueError: the schedule is damaged.
    """
    if schedule.get("interval") is not None:
        return float(schedule["interval"])
    if schedule.get("cron") is not None:
        return longest_pause(schedule["cron"], schedule.get("timezone") or "UTC")
    return None


@cache
def longest_pause(cron: str, timezone: str) -> float:
    """Return the longest pause in seconds of a cron schedule: of `0 9 * * 1-5` the weekend.

    Raises:
        ValueError: the expression or the time zone is not valid.
    """
    try:
        begin = datetime(2024, 1, 1, tzinfo=ZoneInfo(timezone))
        runs = CronSim(cron, begin)
    except (KeyError, OSError) as error:
        raise ValueError(f"{timezone!r} is no time zone that this machine knows") from error
    except CronSimError as error:
        raise ValueError(f"{cron!r} is no cron expression: {error}") from error
    few = [moment.astimezone(UTC) for moment in islice(runs, _FEW)]
    if len(few) < 2:
        raise ValueError(f"{cron!r} names days that hardly ever come")
    end = (begin + _WINDOW).astimezone(UTC)
    while few[-1] < end:
        few.append(next(runs).astimezone(UTC))
    return max((later - earlier).total_seconds() for earlier, later in pairwise(few))
