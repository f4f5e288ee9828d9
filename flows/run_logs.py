"""Gives the process of a run our line format and levels, also where Prefect was started without our logging file."""

from __future__ import annotations

import logging

from prefect.logging.handlers import APILogHandler

from ai_workflow import logs
from ai_workflow.settings import Settings


def set_up(settings: Settings) -> None:
    """Set level and format as the settings say; our lines also reach the run's log in the Prefect UI."""
    logs.setup(settings.logging.level, settings.logging.format)
    ours = logging.getLogger(logs.ROOT)
    if not any(isinstance(handler, APILogHandler) for handler in ours.handlers):
        ours.addHandler(APILogHandler())
    for name in (logs.ROOT, "prefect.flow_runs", "prefect.task_runs"):
        for handler in logging.getLogger(name).handlers:
            if isinstance(handler, APILogHandler):
                handler.setFormatter(logs.Traced())
    runs = logging.getLogger("prefect.flow_runs")
    if not any(isinstance(each, logs.Suspended) for each in runs.filters):
        runs.addFilter(logs.Suspended())
    for name in ("", "prefect"):
        for handler in logging.getLogger(name).handlers:
            if isinstance(handler, logging.StreamHandler) and not isinstance(handler, APILogHandler):
                handler.setFormatter(logs.Formatter())
