"""Schedules of deployments: those of prefect.yaml as objects of Prefect, and a check that they fire."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

from prefect.client.schemas.schedules import CronSchedule, IntervalSchedule, RRuleSchedule
from prefect.server.schemas import schedules as of_server
from pydantic import TypeAdapter, ValidationError

# A fixed anchor, because with the current time each interval schedule would differ from the existing one.
ANCHOR = "2020-01-01T00:00:00Z"
_SCHEDULES = TypeAdapter[Any](of_server.SCHEDULE_TYPES)


def of_entry(schedule: Mapping[str, Any]) -> IntervalSchedule | CronSchedule | RRuleSchedule:
    """Return a schedule of prefect.yaml.

    Raises:
        ValidationError: a value is not valid.
    """
    zone = {"timezone": schedule.get("timezone", "UTC")}
    if "interval" in schedule:
        seconds = timedelta(seconds=schedule["interval"])
        return IntervalSchedule.model_validate(
            {"interval": seconds, "anchor_date": schedule.get("anchor_date", ANCHOR), **zone}
        )
    if "cron" in schedule:
        return CronSchedule(cron=schedule["cron"], day_or=schedule.get("day_or", True), **zone)
    return RRuleSchedule(rrule=schedule["rrule"], **zone)


def problem_of(schedule: Mapping[str, Any]) -> str | None:
    """Return why a schedule of prefect.yaml starts no run, or None."""
    try:
        prefect_schedule = _SCHEDULES.validate_python(of_entry(schedule).model_dump())
    except ValidationError as error:
        return "; ".join(str(each["msg"]).removeprefix("Value error, ") for each in error.errors())
    except (TypeError, ValueError, OverflowError) as error:
        return str(error)
    try:
        # In a thread, because the caller may run in an event loop.
        with ThreadPoolExecutor(1) as pool:
            dates = pool.submit(lambda: asyncio.run(prefect_schedule.get_dates(1))).result()
    except Exception as error:  # the libraries of Prefect raise errors of their own for a date that never comes
        return f"has no next date: {error}"
    return None if dates else "has no next date, so it never starts a run"
