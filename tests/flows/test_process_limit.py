"""A stage that cannot start a thread or a process is named, in one line; the next run goes on."""

from __future__ import annotations

import pytest

from ai_workflow.local.server import Server
from ai_workflow.telemetry import journal
from tests.flows import sample_tables
from tests.flows.workspace import Workplace

# Refuses threads to the stage itself, and the thread of the stage to the task.
WITHIN = """
import functools
from ai_workflow.stages import trainer

real = trainer.train

@functools.wraps(real)
def limited(*args, **named):
    with refused():
        threading.Thread(target=print).start()
    return real(*args, **named)

trainer.train = limited
"""
AROUND = """
from ai_workflow.orchestration import stage_task

class Watched(stage_task.StageProgress):
    def __enter__(self):
        if self._stage != "trainer":
            return super().__enter__()
        self._refused = refused()
        self._refused.__enter__()
        self._loop.set_default_executor(concurrent.futures.ThreadPoolExecutor())
        return super().__enter__()

    def __exit__(self, *error):
        if self._stage == "trainer":
            self._refused.__exit__(*error)
        return super().__exit__(*error)

stage_task.StageProgress = Watched
"""
SCRIPT = """
import asyncio, concurrent.futures, contextlib, sys, threading
from tests import few_threads

@contextlib.contextmanager
def refused():
    before = {name: getattr(threading, name) for name in few_threads.STARTERS if hasattr(threading, name)}
    few_threads.limit(0)
    try:
        yield
    finally:
        for name, start in before.items():
            setattr(threading, name, start)

%s
from flows.training import training
sys.exit(not asyncio.run(training("pipeline.yaml", return_state=True)).is_completed())
"""


@pytest.mark.parametrize(
    "place_of_limit",
    [
        pytest.param(WITHIN, id="within the stage", marks=pytest.mark.slow),
        pytest.param(AROUND, id="around the stage", marks=pytest.mark.soak),
    ],
)
def test_process_limit_in_stage_is_reported_and_next_run_resumes(
    prefect_server: Server, place: Workplace, place_of_limit: str
) -> None:
    place.configure(trainer=sample_tables.PIPELINE["trainer"] | {"steps": 5})
    limited = place.start(["-c", SCRIPT % place_of_limit])

    assert limited.code == 1, limited.output
    assert "Traceback" not in limited.output
    assert limited.outcome == "failed in trainer"
    [error] = limited.ours("ERROR")
    assert error.logger == "ai_pipeline.trainer"
    assert error.message.startswith("no further thread or process can be started")
    assert "can't start new thread. Raise the limit of processes (ulimit -u" in error.message
    assert limited.of("trainer").message == error.message
    assert place.registry.versions() == []

    again = place.train()
    assert again.code == 0, again.output
    assert again.stages["preprocessor"] == journal.CACHED
    assert place.registry.versions() == ["model_v1.0"]
