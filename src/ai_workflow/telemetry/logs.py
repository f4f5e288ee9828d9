"""The log line: `2025-01-15 10:23:45 [INFO] ai_pipeline.trainer: message trace=a3f7b2c1`, or the same as JSON."""

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
# For a message of several lines that holds no line feed of a value: the report of a configuration.
REPORT = {"is_report": True}
_format = "text"
_is_brief = False
# The last errors of this package: Prefect repeats them in the lines about the states of task and flow.
_errors: deque[str] = deque(maxlen=20)


def logger(name: str) -> logging.Logger:
    """Return the logger of a stage or room: `ai_pipeline.<name>`."""
    return logging.getLogger(f"{ROOT}.{name}")


def normalize_level(given: object) -> object:
    """Return a level in capitals, by the name that `logging` has for it: WARNING for WARN."""
    name = given.upper() if isinstance(given, str) else given
    return "WARNING" if name == "WARN" else name


def setup(level: str = "INFO", form: str = "text") -> None:
    """Set the level and form of this package's lines, and give them a console where nothing else did."""
    set_line_format(form)
    ours = logging.getLogger(ROOT)
    ours.setLevel(level)
    if not ours.handlers and not logging.getLogger().handlers:
        console = logging.StreamHandler(sys.stderr)
        console.setFormatter(Formatter())
        ours.addHandler(console)


def capture_all_output() -> None:
    """Write everything that this process reports in the log's format: lines and warnings of libraries, crashes.

    For processes that are nothing but a service; those of Prefect keep its own logging.
    """
    ours, root = logging.getLogger(ROOT), logging.getLogger()
    if ours.handlers and not root.handlers:
        for handler in ours.handlers:
            root.addHandler(handler)
        ours.propagate = False
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
    """Return the form of the lines of this process, `text` or `json`."""
    return _format


def set_line_format(form: str) -> None:
    """Choose `text` or `json` for every line that `Formatter` writes in this process."""
    global _format  # noqa: PLW0603
    _format = form


def set_brief() -> None:
    """Leave warnings, errors and the progress of a training on the console of this process, for `Console` handlers.

    At level DEBUG every line of this package stays.
    """
    global _is_brief  # noqa: PLW0603
    _is_brief = True


def is_reported(error: str) -> bool:
    """Return whether an error of this package that was logged is part of a text."""
    return any(reported in error or repr(reported)[1:-1] in error for reported in _errors)


class SuspendedFilter(logging.Filter):
    """Lowers the level of Prefect's line about a suspended run; every state but Completed is an ERROR there."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Return True; the record then has the level INFO if it is that line."""
        if record.getMessage().startswith(f"{_FINISHED}Suspended("):
            record.levelno, record.levelname = logging.INFO, logging.getLevelName(logging.INFO)
        return True


class Console(logging.Filter):
    """Lets everything pass, or what `be_brief` names; records about progress have the attribute `progress`."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether a record is shown."""
        if not _is_brief or getattr(record, "progress", False):
            return True
        if record.name.split(".")[0] == ROOT and logging.getLogger(ROOT).isEnabledFor(logging.DEBUG):
            return True
        return record.levelno >= logging.WARNING and not record.getMessage().startswith(_FINISHED)


def _message(record: logging.LogRecord) -> str:
    """Return the message of a record; Prefect's name the task, and repeat no error that was logged before them."""
    message = record.getMessage()
    if record.levelno >= logging.ERROR and record.name.startswith(ROOT):
        _errors.append(message)
    if record.name in (_TASKS, _FLOWS) and message.startswith(_FINISHED):
        state, _, reason = message.partition("(")
        # A stage reports its own error; that of a flow may be of Prefect alone.
        message = f"{state}()" if record.name == _TASKS or is_reported(reason) else message
    if record.name == _TASKS and _RETRY in message:
        # Before it is the error of this package, which is logged as a warning.
        message = f"Retr{message.partition(_RETRY)[2]}"
    task = getattr(record, "task_run_name", None)
    return f"{task}: {message}" if task and record.name == _TASKS else message


def trace_of(record: logging.LogRecord) -> str | None:
    """Return the trace id that a line belongs to, also for Prefect's own lines outside of our code."""
    run = getattr(record, "flow_run_id", None)
    return trace_context.current() or (trace_context.trace_id_of_run(str(run)) if run else None)


class Formatter(logging.Formatter):
    """Writes a line as text or JSON, with its trace, and with every known secret masked."""

    def __init__(self, *_: Any, **__: Any) -> None:
        super().__init__()
        set_line_format(os.environ.get("AIW_LOG_FORMAT", _format))

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a record."""
        message = scrub(_message(record))
        crash = scrub(self.formatException(record.exc_info)) if record.exc_info else ""
        moment = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(record.created))
        trace_id = trace_of(record)
        if _format == "json":
            # Masked before it is quoted: in JSON a secret with a quote or a backslash looks different.
            fields = self._fields(record, moment, f"{message}\n{crash}" if crash else message, trace_id)
            return json_text.line(fields, sort_keys=False)
        tail = f" trace={trace_context.short(trace_id)}" if trace_id else ""
        if crash:
            # Indented: no line of the text of an exception looks like a line of the log.
            return f"{moment} [{_level(record)}] {record.name}: {escape(message)}\n{_indented(crash)}{tail}"
        first, *more = _lines(record, message)
        return "\n".join([f"{moment} [{_level(record)}] {record.name}: {first}{tail}", *more])

    def _fields(self, record: logging.LogRecord, moment: str, message: str, trace_id: str | None) -> dict[str, Any]:
        return {
            "time": f"{moment}.{int(record.msecs):03d}{time.strftime('%z', time.localtime(record.created))}",
            "level": _level(record),
            "logger": record.name,
            "stage": trace_context.current_stage(),
            "message": message,
            "trace_id": trace_id,
        }


class Traced(logging.Formatter):
    """Writes the message of a record and its trace, with every known secret masked: for the log of a run in Prefect."""

    def __init__(self, *_: Any, **__: Any) -> None:
        super().__init__()

    def format(self, record: logging.LogRecord) -> str:
        """Return the message of a record, its traceback if it has one, and ` trace=` at the end."""
        trace_id = trace_of(record)
        message = "\n".join(_lines(record, scrub(_message(record))))
        if record.exc_info:
            message = f"{message}\n{_indented(scrub(self.formatException(record.exc_info)))}"
        return message + (f" trace={trace_context.short(trace_id)}" if trace_id else "")


def _lines(record: logging.LogRecord, message: str) -> list[str]:
    """Return the message of a record as one line, or as several, indented, if it is a report (`REPORT`)."""
    return _indented(message).split("\n") if getattr(record, "is_report", False) else [escape(message)]


def _indented(text: str) -> str:
    return escape_lines(text).replace("\n", "\n  ")


def _level(record: logging.LogRecord) -> str:
    return "WARN" if record.levelno == logging.WARNING else record.levelname
