"""Where memory runs out the work goes on with fewer rows at once, and ends with the same rows; the limit is real."""

from __future__ import annotations

import errno
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ai_workflow.errors import StageError
from ai_workflow.runtime import memory_pressure
from tests import low_memory

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[1]
REDUCED = re.compile(r"Data batch size reduced from (\d+) to (\d+) due to memory pressure")
# Each partition is written through to the disk, which other work may keep busy for minutes.
HANG_SECONDS = 900


def test_memory_error_retries_with_half_batch_and_warns(caplog: pytest.LogCaptureFixture) -> None:
    asked: list[int] = []

    def work(rows: int) -> int:
        asked.append(rows)
        if rows > 32:
            raise MemoryError
        return rows

    assert memory_pressure.with_smaller_batches(work, 128, floor=8) == 32
    assert asked == [128, 64, 32]
    assert caplog.messages == [
        "Data batch size reduced from 128 to 64 due to memory pressure",
        "Data batch size reduced from 64 to 32 due to memory pressure",
    ]


def test_memory_error_at_minimum_batch_suggests_remedy() -> None:
    def work(_: int) -> None:
        raise MemoryError("Unable to allocate 3.2 GiB")

    with pytest.raises(StageError, match=r"memory ran out with 50 rows at once \(Unable to allocate 3.2 GiB\)\. Give"):
        memory_pressure.with_smaller_batches(work, 300, floor=50)
    with pytest.raises(StageError, match=r"memory ran out \(Unable to allocate 3.2 GiB\)\. Give the process more"):
        memory_pressure.wrap_memory_error(lambda: work(1))


def test_other_errors_are_not_retried() -> None:
    def work(_: int) -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        memory_pressure.with_smaller_batches(work, 300, floor=50)


def test_blocks_halve_once_and_keep_row_order(
    caplog: pytest.LogCaptureFixture,
) -> None:
    tried: list[int] = []

    def work(start: int, end: int) -> range:
        tried.append(end - start)
        if end - start > 40:
            raise MemoryError
        return range(start, end)

    blocks = memory_pressure.BatchSplitter(128, 8, "Buy more")
    assert [row for block in blocks.each(300, work) for row in block] == list(range(300))
    assert tried == [128, 64] + [32] * 9 + [12]
    assert [len(block) for block in blocks.each(64, work)] == [32, 32]
    assert [len(block) for block in blocks.each(0, work)] == [0]
    assert len(caplog.messages) == 2


def test_memory_error_at_minimum_block_reports_stage_remedy() -> None:
    def work(start: int, end: int) -> None:
        raise MemoryError("Unable to allocate 3.2 GiB")

    blocks = memory_pressure.BatchSplitter(None, 8, "Train a smaller network")
    with pytest.raises(
        memory_pressure.OutOfMemoryError, match=r"memory ran out with 8 rows at once \(Unable to allocate 3.2 GiB\)"
    ):
        blocks.each(20, work)
    with pytest.raises(StageError, match=r"with 8 rows at once .*\. Train a smaller network$"):
        memory_pressure.with_smaller_batches(lambda rows: blocks.each(rows, work), 300, floor=50)


def test_memory_remedy_names_setting_of_stage() -> None:
    def work(_: int) -> None:
        raise MemoryError

    for remedy in ("", "evaluate.holdout"):
        with pytest.raises(StageError) as told:
            memory_pressure.with_smaller_batches(work, 50, **({"remedy": remedy} if remedy else {}))
        assert (remedy or "source.partition_rows below 1000") in str(told.value)
        assert "model.batch_size" not in str(told.value)


IMPORTS = """
import resource, sys
from ai_workflow.runtime import memory_pressure as memory

def limited():
    pages = int(open("/proc/self/statm").read().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + (8 << 20), -1))
    from {module} import {name}

try:
    memory.wrap_memory_error(limited)
except memory.MemoryExhaustedError as error:
    print(error)
"""


PARSING = """
import resource
from ai_workflow.datasets.text_ranges import parser

dialect = parser.Dialect(2, ",", '"')
parser.parse(b"1,2\\n", dialect, [0, 1], [""])
data = b"some text,some other text\\n" * 200_000
pages = int(open("/proc/self/statm").read().split()[0])
resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + (16 << 20), -1))
try:
    parser.parse(data, dialect, [0, 1], [""])
except MemoryError:
    print("memory ran out")
"""


def test_memory_error_while_parsing_text_ranges_does_not_end_the_process() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PARSING], cwd=ROOT, env=os.environ | low_memory.QUIET, capture_output=True, text=True,
        check=False, timeout=240,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "memory ran out\n"), done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(("module", "name"), [("lightgbm", "Booster"), ("pyarrow", "table"), ("pandas", "DataFrame")])
def test_memory_error_while_importing_names_library(module: str, name: str) -> None:
    code = IMPORTS.format(module=module, name=name)
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False, timeout=240
    )
    assert done.stdout.startswith("memory ran out while loading "), done.stderr
    assert done.stdout.rstrip().endswith("Give the process more memory")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("error", "is_shortage"),
    [
        (OSError("lib_x.so: failed to map segment from shared object"), True),
        (ImportError("libx.so.2: cannot map zero-fill pages: Cannot allocate memory"), True),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), True),
        (OSError("x.so: failed to map segment from shared object: Operation not permitted"), False),
        (ImportError("libgomp.so.1: cannot allocate memory in static TLS block"), False),
        (ImportError("No module named 'x'"), False),
        (OSError(errno.ENOSPC, "No space left on device"), False),
        (ValueError("cannot allocate memory for a joke"), False),
    ],
)
def test_loader_error_is_memory_error_only_by_message(error: Exception, is_shortage: bool) -> None:
    def work() -> None:
        raise error

    with pytest.raises(memory_pressure.MemoryExhaustedError if is_shortage else type(error)):
        memory_pressure.wrap_memory_error(work)


def test_import_error_caused_by_loader_is_memory_error() -> None:
    def work() -> None:
        try:
            raise ImportError("libarrow.so: failed to map segment from shared object")
        except ImportError as error:
            raise ImportError("built without support for Parquet") from error

    with pytest.raises(StageError, match=r"^memory ran out .*\(built without support for Parquet\)\. Give the process"):
        memory_pressure.wrap_memory_error(work)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("loading", marks=pytest.mark.slow),
        *(pytest.param(name, marks=pytest.mark.soak) for name in ("cleaning", "featuring", "training")),
    ],
)
@pytest.mark.timeout(3000)
def test_stage_continues_with_smaller_batches_under_memory_limit(name: str, tmp_path: Path) -> None:
    if name == "training":
        pytest.importorskip("torch", reason="PyTorch is missing. Install it: .venv/bin/pip install -e '.[torch]'")
    folder = tmp_path / "place"
    _starved(name, folder)
    code, out = _starved(name, folder, 0)
    assert code == 0, out
    assert not REDUCED.findall(out)
    whole, took = _last(out)["gave"], _last(out)["took"]
    # What fits depends on how far threads are ahead of each other.
    for share in (0.9, 0.75, 0.6, 0.85, 0.7, 0.65):
        code, out = _starved(name, folder, int(share * took))
        reduced = [(int(before), int(after)) for before, after in REDUCED.findall(out)]
        assert all(after == max(before // 2, memory_pressure.MIN_ROWS) for before, after in reduced)
        if code == 0:
            _is_right(name, _last(out)["gave"], whole, reduced)
            if reduced:
                return
    pytest.fail(out)


def _is_right(name: str, gave: dict[str, Any], whole: dict[str, Any], reduced: list[tuple[int, int]]) -> None:
    if name == "training":
        assert gave["steps"] == whole["steps"]
        assert gave["reduced"] == ({"rows per step": [60_000, reduced[-1][1]]} if reduced else {})
    elif name == "loading":
        assert gave["rows"]["rows"] == low_memory.LINES
        assert ("reduced" in gave["rows"]) == bool(reduced)
    else:
        assert gave == whole


def _starved(name: str, folder: Path, *most: int) -> tuple[int, str]:
    command = [sys.executable, "-X", "faulthandler", "-m", "tests.low_memory", name, str(folder), *map(str, most)]
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=os.environ | low_memory.QUIET,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        out, _ = process.communicate(timeout=HANG_SECONDS)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGABRT)
        pytest.fail(f"{name} with {most} bytes hangs; its threads:\n{process.communicate()[0]}")
    assert most or process.returncode == 0, out
    return process.returncode, out


def _last(out: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(next(line for line in out.splitlines() if line.startswith('{"gave"')))
    return found
