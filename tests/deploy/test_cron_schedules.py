"""The server of the installed Prefect creates runs for the schedules of prefect.yaml."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from prefect.server.schemas.schedules import CronSchedule

DEPLOYMENTS = yaml.safe_load((Path(__file__).parents[2] / "prefect.yaml").read_text())["deployments"]
CRON = [schedule for each in DEPLOYMENTS for schedule in each.get("schedules", []) if "cron" in schedule]


def test_prefect_yaml_has_cron_schedules() -> None:
    assert CRON


@pytest.mark.parametrize("schedule", CRON, ids=lambda schedule: str(schedule["cron"]))
@pytest.mark.parametrize("timezone", ["UTC", "Europe/Berlin"])
def test_server_computes_next_dates_of_cron_schedule(schedule: dict[str, Any], timezone: str) -> None:
    found = CronSchedule(cron=schedule["cron"], timezone=timezone)

    first, second = asyncio.run(found.get_dates(2, datetime(2026, 6, 1, tzinfo=UTC)))

    assert second - first == timedelta(days=7)
    assert f"{first.minute} {first.hour} * * {first.isoweekday()}" == schedule["cron"]
