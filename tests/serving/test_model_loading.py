"""The wait for a model that loads: as long as its process makes progress, whatever its timeout."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from ai_workflow.inference import model_worker
from ai_workflow.inference.model_worker import ModelExitedError, ModelSource, ModelWorker

pytestmark = pytest.mark.integration

READY = """
import socket, sys
from ai_workflow.inference.worker import HEAD, READY
socket.socket(fileno=int(sys.argv[2])).sendall(HEAD.pack(READY, 1))
sys.stdin.read()
"""
# Several times the timeout, in CPU time: on a busy machine that takes longer, and is progress all the same.
SLOW = "import time\nwhile time.process_time() < 1.0: pass\n" + READY
HANGING = "import signal\nsignal.pause()\n"
SPINNING = "while True: pass\n"


async def _start(code: str, folder: Path, monkeypatch: pytest.MonkeyPatch, timeout: float) -> int:
    program = folder / "loads.py"
    program.write_text(code)
    monkeypatch.setattr(model_worker, "COMMAND", (sys.executable, "-P", str(program)))
    worker = ModelWorker("model_v1.0", lambda _: None, lambda _: None)
    handle = os.open(folder, os.O_RDONLY)
    try:
        await worker.start(ModelSource("lightgbm", handle, 3), timeout)
        return worker.outputs
    finally:
        worker.kill()
        os.close(handle)


def start(*arguments: Any) -> int:
    return asyncio.run(asyncio.wait_for(_start(*arguments), 100))


def test_slow_model_load_with_progress_is_not_timed_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert start(SLOW, tmp_path, monkeypatch, 0.5) == 1


def test_hung_model_load_times_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        ModelExitedError, match=r"did not load: it made no progress for 0.3 s \(model.timeout: 0.3\)"
    ) as found:
        start(HANGING, tmp_path, monkeypatch, 0.3)
    assert found.value.is_late


def test_busy_model_load_times_out_after_ten_timeouts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ModelExitedError, match=r"did not load: it was still busy after 0.5 s"):
        start(SPINNING, tmp_path, monkeypatch, 0.05)
