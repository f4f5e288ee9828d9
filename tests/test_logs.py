"""What a log line promises: one form, its trace, and no secret, as text and as JSON."""

from __future__ import annotations

import io
import json
import logging
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import pytest

from ai_workflow.secret_values import Secret
from ai_workflow.telemetry import logs, trace_context

ID = "a3f7b2c1" + "0" * 24
Line = Callable[..., str]


@pytest.fixture(autouse=True)
def _restored(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("AIW_LOG_FORMAT", raising=False)
    ours = logging.getLogger(logs.ROOT)
    before = ours.level, list(ours.handlers)
    yield
    ours.setLevel(before[0])
    ours.handlers = before[1]
    logs.set_line_format("text")


def _line(message: str, *arguments: object, level: int = logging.INFO, name: str = "trainer", **extra: object) -> str:
    """Log through a real handler and return what it wrote."""
    out = io.StringIO()
    handler = logging.StreamHandler(out)
    handler.setFormatter(logs.Formatter())
    log = logs.logger(name)
    before = log.level
    log.setLevel(logging.DEBUG)
    log.addHandler(handler)
    try:
        log.log(level, message, *arguments, **extra)  # type: ignore[arg-type]
    finally:
        log.removeHandler(handler)
        log.setLevel(before)
    return out.getvalue()


def _json(message: str, *arguments: object, **extra: object) -> dict[str, str]:
    logs.set_line_format("json")
    line = _line(message, *arguments, **extra)  # type: ignore[arg-type]
    assert line.endswith("\n")
    assert line.count("\n") == 1
    read: dict[str, str] = json.loads(line)
    return read


def test_log_line_matches_documented_format(monkeypatch: pytest.MonkeyPatch) -> None:
    moment = time.mktime((2025, 1, 15, 10, 23, 45, 0, 0, -1))
    monkeypatch.setattr(time, "time", lambda: moment)
    monkeypatch.setattr(time, "time_ns", lambda: int(moment * 1e9))
    with trace_context.bound(trace_id=ID):
        line = _line("%d records loaded", 3)
    assert line == "2025-01-15 10:23:45 [INFO] ai_pipeline.trainer: 3 records loaded trace=a3f7b2c1\n"


def test_line_without_trace_ends_with_message() -> None:
    assert _line("message").endswith(" [INFO] ai_pipeline.trainer: message\n")


@pytest.mark.parametrize(
    ("level", "shown"),
    [(logging.DEBUG, "DEBUG"), (logging.INFO, "INFO"), (logging.WARNING, "WARN"), (logging.ERROR, "ERROR")],
)
def test_log_line_shows_level_name(level: int, shown: str) -> None:
    assert f" [{shown}] " in _line("message", level=level)
    assert _json("message", level=level)["level"] == shown


@pytest.mark.parametrize("message", ["two\nlines", 'a "quote" and a \\', "größer 模型 🚀", "", "tab\t\r\x00\x1b[31m"])
def test_json_log_is_single_line_with_exact_message(message: str) -> None:
    assert _json("%s", message)["message"] == message


def test_json_log_has_logger_stage_trace_and_time() -> None:
    with trace_context.bound(trace_id=ID, stage="trainer"):
        read = _json("message")
    assert (read["logger"], read["stage"], read["trace_id"]) == ("ai_pipeline.trainer", "trainer", ID)
    assert time.strptime(read["time"].replace(".", " ")[:19], "%Y-%m-%d %H:%M:%S")


def test_exception_is_logged_with_traceback() -> None:
    try:
        raise ValueError("no such column")
    except ValueError:
        text = _line("it failed", exc_info=True)
        read = _json("it failed", exc_info=True)
    for shown in (text, read["message"]):
        assert "it failed\nTraceback" in shown
        assert "ValueError: no such column" in shown


@pytest.mark.parametrize("value", ["hunter2-plain", 'quo"ted\\secret', "mehr\nzeilig", "schlüssel-🔑"])
@pytest.mark.parametrize("form", ["text", "json"])
def test_secret_is_masked_in_text_and_json(value: str, form: str) -> None:
    Secret(value)
    logs.set_line_format(form)
    try:
        raise ValueError(f"cannot log in with {value}")
    except ValueError:
        line = _line("password %s", value, exc_info=True)
    assert "password ***" in line
    assert "log in with ***" in line
    assert value not in line
    assert json.dumps(value, ensure_ascii=False)[1:-1] not in line


def test_library_log_line_gets_trace_of_flow_run() -> None:
    line = _line("Finished in state Completed()", extra={"flow_run_id": "run-7"})
    assert line.endswith(f" trace={trace_context.trace_id_of_run('run-7')[:8]}\n")
    with trace_context.bound(trace_id=ID):
        assert _line("message", extra={"flow_run_id": "run-7"}).endswith(" trace=a3f7b2c1\n")


def test_environment_variable_selects_log_format(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIW_LOG_FORMAT", "json")
    assert json.loads(_line("message"))["message"] == "message"


def test_setup_sets_log_level() -> None:
    logs.setup("WARNING")
    assert not logs.logger("trainer").isEnabledFor(logging.INFO)
    assert logs.logger("trainer").isEnabledFor(logging.WARNING)
    logs.setup("DEBUG")
    assert logs.logger("trainer").isEnabledFor(logging.DEBUG)


@pytest.mark.integration
def test_warnings_and_crashes_use_configured_log_format() -> None:
    script = """
import gc, logging, threading, warnings
from ai_workflow.telemetry import logs
logs.setup("INFO", "json")
logs.capture_all_output()
warnings.warn("odd")
logging.getLogger("library").error("failed")
class Odd:
    def __del__(self): raise ValueError("late")
Odd(); gc.collect()
crash = threading.Thread(target=lambda: 1 / 0); crash.start(); crash.join()
raise RuntimeError("last")
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=240, check=False)
    lines = [json.loads(line)["message"] for line in done.stderr.splitlines()]
    for text in ("odd", "failed", "late", "ZeroDivisionError", "RuntimeError: last"):
        assert any(text in line for line in lines), text
    assert done.returncode == 1


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("one\n2025-01-15 10:23:45 [ERROR] ai_pipeline.x: two", r"one\n2025-01-15 10:23:45 [ERROR] ai_pipeline.x: two"),
        ("a\r\x1b[31mb\x07", r"a\r\x1b[31mb\x07"),
        ("a\u2028b\x85c\u202ed", r"a\u2028b\x85c\u202ed"),
        ("价格 ≥ é", "价格 ≥ é"),
    ],
)
def test_control_characters_in_message_are_escaped(text: str, shown: str) -> None:
    line = _line("read %s", text)
    assert line.endswith(f": read {shown}\n")
    assert line.count("\n") == 1
    assert _json("read %s", text)["message"] == f"read {text}"


def test_exception_text_cannot_forge_log_line() -> None:
    try:
        raise ValueError("x\n2025-01-15 10:23:45 [ERROR] ai_pipeline.x: forged\x1b[2J")
    except ValueError:
        first, *more = _line("failed", exc_info=True).rstrip("\n").split("\n")
    assert first.endswith(": failed")
    assert more[0] == "Traceback (most recent call last):"
    assert len(more) > 2
    assert all(line.startswith("  ") and "\x1b" not in line for line in more[1:])


def test_multiline_report_is_indented_and_cannot_forge_log_line() -> None:
    text = "2 problems:\na: wrong\x1b[31m\nb: 2025-01-15 10:23:45 [ERROR] ai_pipeline.x: two"
    with trace_context.bound(trace_id=ID):
        first, *more = _line("%s", text, extra=logs.REPORT).rstrip("\n").split("\n")
    assert first.endswith(": 2 problems: trace=a3f7b2c1")
    assert more == [r"  a: wrong\x1b[31m", "  b: 2025-01-15 10:23:45 [ERROR] ai_pipeline.x: two"]


def test_multiline_secret_is_masked() -> None:
    Secret("BEGIN-0815\nabcdef-0815\nEND-0815")
    assert "abcdef-0815" not in _line("key BEGIN-0815\nabcdef-0815\nEND-0815")


@pytest.mark.parametrize(("name", "shown"), [("trainer", True), ("trainers.lightgbm", True)])
def test_brief_console_shows_package_lines_at_debug(name: str, shown: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "_is_brief", True)
    record = logging.LogRecord(f"{logs.ROOT}.{name}", logging.DEBUG, "", 0, "rows", (), None)
    of_prefect = logging.LogRecord("prefect.flow_runs", logging.INFO, "", 0, "rows", (), None)
    logs.setup("DEBUG")
    assert logs.Console().filter(record) is shown
    assert not logs.Console().filter(of_prefect)
    logs.setup("INFO")
    assert not logs.Console().filter(record)
