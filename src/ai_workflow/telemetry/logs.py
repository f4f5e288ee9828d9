"""Log format: `2025-01-15 10:23:45 [INFO] ai_pipeline.trainer: message trace=a3f7b2c1`, or JSON."""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections import deque
from types import TracebackType
from typing import Any

from ai_workflow import json_text
from ai_workflow.secret_values import scrub
from ai_workflow.telemetry import trace_context
from ai_workflow.telemetry.control_characters import escape, escape_lines

IN_CACHE_KEY = False
ROOT = "ai_pipeline"
LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")
_TASKS, _FLOWS = "prefect.task_runs", "prefect.flow_runs"
_FINISHED, _RETRY = "Finished in state ", " - Retr"
# For a message of several lines without line feeds from user values: the report of a configuration.
REPORT = {"is_report": True}
_format = "text"
_is_brief = False
# The last logged errors of this package; Prefect repeats them in its lines about task and flow states.
_errors: deque[str] = deque(maxlen=20)


def logger(name: str) -> logging.Logger:
    """Return the logger `ai_pipeline.<name>` of a stage or component."""
    return logging.getLogger(f"{ROOT}.{name}")


def normalize_level(value: object) -> object:
    """Return the name of a level as `logging` has it: in capitals, and WARNING for WARN."""
    name = value.upper() if isinstance(value, str) else value
    return "WARNING" if name == "WARN" else name


def setup(level: str = "INFO", form: str = "text") -> None:
    """Set level and format (`text` or `json`) of this package's lines; log to stderr unless a handler is configured."""
    set_line_format(form)
    package_logger = logging.getLogger(ROOT)
    package_logger.setLevel(level)
    if not package_logger.handlers and not logging.getLogger().handlers:
        console = logging.StreamHandler(sys.stderr)
        console.setFormatter(Formatter())
        package_logger.addHandler(console)


def capture_all_output() -> None:
    """Write log lines and warnings of libraries and uncaught exceptions in the log format as well.

    For processes of services only; processes of Prefect keep its logging.
    """
    package_logger, root = logging.getLogger(ROOT), logging.getLogger()
    if package_logger.handlers and not root.handlers:
        for handler in package_logger.handlers:
            root.addHandler(handler)
        package_logger.propagate = False
    logging.captureWarnings(True)
    sys.excepthook = _log_exception
    threading.excepthook = lambda crash: _log_exception(crash.exc_type, crash.exc_value, crash.exc_traceback)
    sys.unraisablehook = lambda crash: _log_exception(crash.exc_type, crash.exc_value, crash.exc_traceback)


def _log_exception(kind: type[BaseException], error: BaseException | None, at: TracebackType | None) -> None:
    if error is None or issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error or kind(), at)
        return
    logger("process").critical("uncaught %s", kind.__name__, exc_info=(kind, error, at))


def line_format() -> str:
    """Return the line format of this process, `text` or `json`."""
    return _format


def set_line_format(form: str) -> None:
    """Set the line format of this process, `text` or `json`."""
    global _format  # noqa: PLW0603
    _format = form


def set_brief() -> None:
    """Limit `Console` handlers of this process to warnings, errors and training progress.

    At level DEBUG, every line of this package is shown.
    """
    global _is_brief  # noqa: PLW0603
    _is_brief = True


def is_reported(error: str) -> bool:
    """Return whether a text contains an error that this package has logged."""
    return any(reported in error or repr(reported)[1:-1] in error for reported in _errors)


class SuspendedFilter(logging.Filter):
    """Filter that logs a suspended run at INFO; Prefect logs every state but Completed as ERROR."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Return True after setting the level of that line to INFO."""
        if record.getMessage().startswith(f"{_FINISHED}Suspended("):
            record.levelno, record.levelname = logging.INFO, logging.getLevelName(logging.INFO)
        return True


class Console(logging.Filter):
    """Filter of console records; after `set_brief`, only its selection passes. Progress records have `progress` set."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether a record is shown."""
        if not _is_brief or getattr(record, "progress", False):
            return True
        if record.name.split(".")[0] == ROOT and logging.getLogger(ROOT).isEnabledFor(logging.DEBUG):
            return True
        return record.levelno >= logging.WARNING and not record.getMessage().startswith(_FINISHED)


def _message(record: logging.LogRecord) -> str:
    """Return the message of a record; lines of Prefect name the task and do not repeat logged errors."""
    message = record.getMessage()
    if record.levelno >= logging.ERROR and record.name.startswith(ROOT):
        _errors.append(message)
    if record.name in (_TASKS, _FLOWS) and message.startswith(_FINISHED):
        state, _, reason = message.partition("(")
        # A stage logs its error itself; the error of a flow may come from Prefect.
        message = f"{state}()" if record.name == _TASKS or is_reported(reason) else message
    if record.name == _TASKS and _RETRY in message:
        # The error before it was logged as a warning already.
        message = f"Retr{message.partition(_RETRY)[2]}"
    task = getattr(record, "task_run_name", None)
    return f"{task}: {message}" if task and record.name == _TASKS else message


def trace_of(record: logging.LogRecord) -> str | None:
    """Return the trace ID of a record, also for lines that Prefect logs about a run."""
    run = getattr(record, "flow_run_id", None)
    return trace_context.current() or (trace_context.trace_id_of_run(str(run)) if run else None)


class Formatter(logging.Formatter):
    """Formatter of a record as text or JSON, with its trace ID and with secrets masked."""

    def __init__(self, *_: Any, **__: Any) -> None:
        super().__init__()
        set_line_format(os.environ.get("AIW_LOG_FORMAT", _format))

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a record."""
        message = scrub(_message(record))
        crash = scrub(self.formatException(record.exc_info)) if record.exc_info else ""
        timestamp = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(record.created))
        trace_id = trace_of(record)
        if _format == "json":
            # Masked before it is quoted, because JSON escapes quotes and backslashes in a secret.
            fields = self._fields(record, timestamp, f"{message}\n{crash}" if crash else message, trace_id)
            return json_text.line(fields, sort_keys=False)
        tail = f" trace={trace_context.short(trace_id)}" if trace_id else ""
        if pipeline := trace_context.current_pipeline():
            tail = f" pipeline={pipeline}{tail}"
        if crash:
            # Indented, so that no line of an exception looks like a log line.
            return f"{timestamp} [{_level(record)}] {record.name}: {escape(message)}\n{_indented(crash)}{tail}"
        first, *more = _lines(record, message)
        return "\n".join([f"{timestamp} [{_level(record)}] {record.name}: {first}{tail}", *more])

    def _fields(self, record: logging.LogRecord, timestamp: str, message: str, trace_id: str | None) -> dict[str, Any]:
        pipeline = trace_context.current_pipeline()
        return {
            "time": f"{timestamp}.{int(record.msecs):03d}{time.strftime('%z', time.localtime(record.created))}",
            "level": _level(record),
            "logger": record.name,
            **({"pipeline": pipeline} if pipeline else {}),
            "stage": trace_context.current_stage(),
            "message": message,
            "trace_id": trace_id,
        }


class Traced(logging.Formatter):
    """Formatter of the message of a record with its trace ID and with secrets masked, for the run log in Prefect."""

    def __init__(self, *_: Any, **__: Any) -> None:
        super().__init__()

    def format(self, record: logging.LogRecord) -> str:
        """Return the message of a record, its traceback if there is one, and ` trace=<id>`."""
        trace_id = trace_of(record)
        message = "\n".join(_lines(record, scrub(_message(record))))
        if record.exc_info:
            message = f"{message}\n{_indented(scrub(self.formatException(record.exc_info)))}"
        return message + (f" trace={trace_context.short(trace_id)}" if trace_id else "")


def _lines(record: logging.LogRecord, message: str) -> list[str]:
    """Return the message of a record as one line, or as several indented lines if it is a report (`REPORT`)."""
    return _indented(message).split("\n") if getattr(record, "is_report", False) else [escape(message)]


def _indented(text: str) -> str:
    return escape_lines(text).replace("\n", "\n  ")


def _level(record: logging.LogRecord) -> str:
    return "WARN" if record.levelno == logging.WARNING else record.levelname
