"""A stage that runs out of memory is named, in one line; nothing is published, and the next run goes on."""

from __future__ import annotations

import pytest

from ai_workflow.local.server import Server
from ai_workflow.telemetry import journal
from tests.flows import sample_tables
from tests.flows.workspace import Workplace

STARVED = """
import asyncio, functools, resource, sys
import numpy as np
from ai_workflow.stages import trainer
from flows.training import training
from tests.low_memory import address_space

real = trainer.train

@functools.wraps(real)
def starved(*args, **named):
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (address_space() + (64 << 20), before[1]))
    try:
        np.ones(1 << 27)
        return real(*args, **named)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)

trainer.train = starved
sys.exit(not asyncio.run(training("pipeline.yaml", return_state=True)).is_completed())
"""


@pytest.mark.slow
def test_out_of_memory_stage_is_reported_and_next_run_resumes(prefect_server: Server, place: Workplace) -> None:
    place.configure(trainer=sample_tables.PIPELINE["trainer"] | {"steps": 5})
    starved = place.start(["-c", STARVED])

    assert starved.code == 1
    assert "Traceback" not in starved.output
    assert starved.outcome == "failed in trainer"
    [told] = starved.ours("ERROR")
    assert told.message.startswith("memory ran out (Unable to allocate 1.00 GiB")
    assert "Give the process more memory, or let it hold less at once: source.partition_rows below 1000" in told.message
    assert place.registry.versions() == []

    again = place.train()
    assert again.code == 0, again.output
    assert again.stages["preprocessor"] == journal.CACHED
    assert place.registry.versions() == ["model_v1.0"]
