"""What `ai-workflow trace` promises: the run that was asked for, or a line that says what to do."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ai_workflow.cli import main
from ai_workflow.storage.store import Store
from ai_workflow.telemetry.journal import ERROR, RUN, STARTED, SUCCESS, Event, Journal

GOOD, BAD = "aa" * 16, "bb" * 16


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A store with a finished run that began last, and a failed one before it."""
    book = Journal(Store(tmp_path))
    for trace_id, status, day in ((BAD, ERROR, 1), (GOOD, SUCCESS, 2)):
        for stage, told in ((RUN, STARTED), ("trainer", status), (RUN, status)):
            book.write(Event(trace_id, "credit", "training", stage, told, time=f"2025-01-0{day}T10:00:00+00:00"))
    return tmp_path


def _run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    try:
        main.main(["trace", *map(str, arguments)])
        code = 0
    except SystemExit as exit_:
        code = int(exit_.code or 0)
    out, error = capsys.readouterr()
    return code, out, error


@pytest.mark.parametrize(
    ("arguments", "first"),
    [
        ([], "[TRACE:aaaaaaaa] training · finished"),
        (["--last"], "[TRACE:aaaaaaaa] training · finished"),
        (["--failed"], "[TRACE:bbbbbbbb] training · failed in trainer"),
        (["bbb"], "[TRACE:bbbbbbbb] training · failed in trainer"),
    ],
)
def test_trace_shows_selected_run(
    root: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], first: str
) -> None:
    code, out, error = _run(capsys, *arguments, "--store", root)
    assert (code, out.splitlines()[0], error) == (0, first, "")
    assert " | trainer " in out.splitlines()[1]


def test_list_has_line_per_run(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = _run(capsys, "--list", "--store", root)
    assert [line.split() for line in out.splitlines()] == [
        ["aaaaaaaa", "2025-01-02T10:00:00", "training", "credit", "finished"],
        ["bbbbbbbb", "2025-01-01T10:00:00", "training", "credit", "failed", "in", "trainer"],
    ]


def test_empty_journal_or_unknown_trace_exits_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, error = _run(capsys, "--store", tmp_path)
    assert (code, out) == (2, "")
    assert error.startswith(f"error: there is no run in {tmp_path}/journal yet. Start one with `make run`")
    assert _run(capsys, "--failed", "--store", tmp_path) == (2, "", f"error: no run in {tmp_path}/journal has failed\n")
    assert _run(capsys, "beef", "--store", tmp_path)[2].startswith("error: no trace begins with 'beef'")


def test_trace_id_and_selection_option_are_exclusive(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, error = _run(capsys, "aa", "--last", "--store", root)
    assert (code, error) == (
        2,
        "error: a trace ID cannot be combined with --last, --failed or --list. Pass one of them\n",
    )


def test_trace_with_only_damaged_events_exits_2(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in (root / "journal" / GOOD).iterdir():
        path.write_bytes(b"")
    code, _, error = _run(capsys, "aa", "--store", root)
    assert (code, error.startswith("error: no event of trace aa can be read")) == (2, True)
    assert _run(capsys, "--store", root)[1].startswith("[TRACE:bbbbbbbb]")


def test_future_dated_run_is_last_only_until_next_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    book = Journal(Store(tmp_path))
    for trace_id, year in (("cc" * 16, 2025), ("aa" * 16, 2999), ("bb" * 16, 1999)):
        for stage, status in ((RUN, STARTED), ("trainer", ERROR), (RUN, ERROR)):
            book.write(Event(trace_id, "credit", "training", stage, status, time=f"{year}-01-01T10:00:00+00:00"))
    for choice in ("--last", "--failed"):
        assert _run(capsys, choice, "--store", tmp_path)[1].startswith("[TRACE:bbbbbbbb]")
    _, listed, _ = _run(capsys, "--list", "--store", tmp_path)
    assert [line.split()[0] for line in listed.splitlines()] == ["bbbbbbbb", "aaaaaaaa", "cccccccc"]


def test_late_event_does_not_reorder_runs(root: Path) -> None:
    book = Journal(Store(root))
    book.write(Event(BAD, "credit", "training", RUN, STARTED))
    assert book.trace_ids() == [GOOD, BAD]


def test_control_characters_in_error_are_escaped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    forged = "no version 'v\n[ERROR] fake: line\x1b[31m\rx'"
    book = Journal(Store(tmp_path))
    for stage, told in ((RUN, STARTED), (RUN, ERROR)):
        book.write(Event(BAD, "credit", "scoring", stage, told, forged if told == ERROR else ""))
    for asked in ("--list", "--failed"):
        _, out, _ = _run(capsys, asked, "--store", tmp_path)
        assert len(out.splitlines()) == 1
        assert "\x1b" not in out
        assert "failed: no version" in out


@pytest.mark.integration
@pytest.mark.parametrize("lines", [1, 20_000])
def test_broken_stdout_pipe_exits_141_without_traceback(tmp_path: Path, lines: int) -> None:
    """One line fits the buffer and is written at the end, many are not."""
    program = (
        "from ai_workflow.cli import main as cli\n"
        f"cli.app.command(lambda: [print('x' * 100) for _ in range({lines})] and None, name='much')\n"
        "cli.main(['much'])"
    )
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-c", program], stdout=write, stderr=subprocess.PIPE, cwd=tmp_path, text=True, check=False
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (141, "")
