"""The longest interval between two runs of a Prefect schedule."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import islice, pairwise
from typing import Any
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

# Most schedules repeat within a week. For rarer ones, this number of runs is examined.
_WINDOW, _MIN_RUNS = timedelta(days=8), 14


def seconds(schedule: dict[str, Any]) -> float | None:
    """Return the longest interval of a schedule in seconds; None for a recurrence rule.

    Raises:
        ValueError: the schedule is invalid.
    """
    if schedule.get("interval") is not None:
        return float(schedule["interval"])
    if schedule.get("cron") is not None:
        return longest_interval(schedule["cron"], schedule.get("timezone") or "UTC")
    return None


@cache
def longest_interval(cron: str, timezone: str) -> float:
    """Return the longest interval of a cron schedule in seconds; for `0 9 * * 1-5` it is the weekend.

    Raises:
        ValueError: the expression or the time zone is not valid.
    """
    try:
        begin = datetime(2024, 1, 1, tzinfo=ZoneInfo(timezone))
        runs = CronSim(cron, begin)
    except (KeyError, OSError) as error:
        raise ValueError(f"{timezone!r} is not a time zone of this machine") from error
    except CronSimError as error:
        raise ValueError(f"{cron!r} is not a cron expression: {error}") from error
    times = [run.astimezone(UTC) for run in islice(runs, _MIN_RUNS)]
    if len(times) < 2:
        raise ValueError(f"{cron!r} names days that almost never occur")
    end = (begin + _WINDOW).astimezone(UTC)
    while times[-1] < end:
        times.append(next(runs).astimezone(UTC))
    return max((later - earlier).total_seconds() for earlier, later in pairwise(times))
