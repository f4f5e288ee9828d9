"""A hyperparameter search as a stage of a run: stopped, resumed, and cached."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys

import pytest

from ai_workflow.local.server import Server
from ai_workflow.telemetry import journal
from tests.flows.prefect_api import until
from tests.flows.workspace import TRAINING, Workplace

TRIALS = 12
SEARCH = {
    "trials": TRIALS,
    "metric": "log_loss",
    "parameters": {"learning_rate": {"low": 0.05, "high": 0.5, "log": True}, "num_leaves": {"low": 2, "high": 31}},
}
TRAINER = {"steps": 40, "params": {"num_threads": 1}, "checkpoint": {"every_steps": 10}, "search": SEARCH}


@pytest.mark.slow
def test_terminated_search_repeats_no_trial_and_gives_identical_model(place: Workplace, prefect_server: Server) -> None:
    place.configure(trainer=TRAINER)
    child = subprocess.Popen(
        [sys.executable, "-m", "ai_workflow", "run", "training", "--pipeline", "pipeline.yaml"],
        cwd=place.folder, env=place.environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    try:
        until(lambda: place.files("data/trials/*.json"))
        child.send_signal(signal.SIGTERM)
        output, _ = child.communicate(timeout=240)
    finally:
        child.kill()
        child.wait()
    assert place.registry.versions() == [], output
    finished = {path: path.stat().st_mtime_ns for path in place.files("data/trials/*.json")}
    assert 0 < len(finished) < TRIALS, output

    resumed = place.train()
    assert resumed.code == 0, resumed.output
    assert resumed.stages["feature_engineering"] == journal.CACHED
    assert resumed.stages["parameter_search"] == journal.SUCCESS
    assert f"{TRIALS} trials, the best is " in resumed.of("parameter_search").message
    assert len(place.files("data/trials/*.json")) == TRIALS
    assert {path: path.stat().st_mtime_ns for path in finished} == finished
    version = place.registry.get("latest")
    model, card = (place.registry.read(version, name) for name in ("model.txt", "card.md"))
    assert b"## Hyperparameter search" in card

    again = place.train()
    assert again.stages == dict.fromkeys([*TRAINING, "parameter_search"], journal.CACHED)
    for folder in ("checkpoints", "data", "models", "results"):
        shutil.rmtree(place.var / folder)
    whole = place.train()
    assert whole.code == 0, whole.output
    assert place.registry.read(place.registry.get("latest"), "model.txt") == model
