"""A training that was stopped goes on from where it was saved, says so, and ends with the very same model."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys

import pytest

from ai_workflow.local.server import Server
from ai_workflow.telemetry import journal
from tests.flows import sample_tables
from tests.flows.prefect_api import until
from tests.flows.workspace import Workplace

LONG = sample_tables.PIPELINE["trainer"] | {
    "steps": 1500,
    "params": {"num_threads": 1, "bagging_fraction": 0.8, "bagging_freq": 1},
    "checkpoint": {"every_steps": 25},
}


# tests/kill shows the same with short trainings.
@pytest.mark.soak
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_stopped_training_resumes_to_identical_model(
    place: Workplace, prefect_server: Server, number: signal.Signals
) -> None:
    place.configure(trainer=LONG)
    child = subprocess.Popen(
        [sys.executable, "-m", "ai_workflow", "run", "training", "--pipeline", "pipeline.yaml"],
        cwd=place.folder,
        env=place.environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        until(lambda: place.files("checkpoints/*/*/model_step_*.json"))
        child.send_signal(number)
        child.wait(240)
    finally:
        child.kill()
        child.wait()
    assert place.registry.versions() == []

    resumed = place.train()
    assert resumed.code == 0, resumed.output
    assert resumed.stages["trainer"] == journal.RESUMED
    assert resumed.stages["data_loader"] == journal.CACHED
    assert "Resuming from checkpoint: model_step_" in resumed.output
    model = place.registry.read(place.registry.get("latest"), "model.txt")

    for folder in ("checkpoints", "data", "models", "results"):
        shutil.rmtree(place.var / folder)
    whole = place.train()
    assert whole.stages["trainer"] == journal.SUCCESS
    assert "No checkpoint found, starting from scratch" in whole.output
    assert place.registry.read(place.registry.get("latest"), "model.txt") == model
