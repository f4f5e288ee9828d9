"""Log format and levels in the process of a run, also if Prefect was started without `config/logging.yaml`."""

from __future__ import annotations

import logging

from prefect.logging.handlers import APILogHandler

from ai_workflow.config.settings import Settings
from ai_workflow.telemetry import logs


def set_up(settings: Settings | None) -> None:
    """Set level and format of the log, and send it to the Prefect UI as well.

    Args:
        settings: None before they are loaded: level INFO, and the format that is set already.
    """
    if settings is None:
        logs.setup("INFO", logs.line_format())
    else:
        logs.setup(settings.logging.level, settings.logging.format)
    # EventsWorker logs the number of unsent events at every exit.
    logging.getLogger("EventsWorker").setLevel(logging.ERROR)
    root = logging.getLogger(logs.ROOT)
    if not any(isinstance(handler, APILogHandler) for handler in root.handlers):
        root.addHandler(APILogHandler())
    for name in (logs.ROOT, "prefect.flow_runs", "prefect.task_runs"):
        for handler in logging.getLogger(name).handlers:
            if isinstance(handler, APILogHandler):
                handler.setFormatter(logs.Traced())
    runs = logging.getLogger("prefect.flow_runs")
    if not any(isinstance(log_filter, logs.SuspendedFilter) for log_filter in runs.filters):
        runs.addFilter(logs.SuspendedFilter())
    for name in ("", "prefect"):
        for handler in logging.getLogger(name).handlers:
            if isinstance(handler, logging.StreamHandler) and not isinstance(handler, APILogHandler):
                handler.setFormatter(logs.Formatter())
