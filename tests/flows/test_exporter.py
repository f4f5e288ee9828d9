"""A real training as Prometheus would see it: at work, killed, resumed, published."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from tests.flows import sample_tables
from tests.flows.workspace import TRAINING, Workplace
from tests.monitoring.exporter.exporter_stores import Exporting

LONG = sample_tables.PIPELINE["trainer"] | {
    "steps": 1500,
    "params": {"num_threads": 1},
    "checkpoint": {"every_steps": 25},
}
OF_RUN = '{flow="training",pipeline="small_credit"}'
OF_PIPELINE = '{pipeline="small_credit"}'
CHECKPOINT = f"training_last_checkpoint_timestamp_seconds{OF_PIPELINE}"


@pytest.mark.slow
def test_exporter_shows_running_killed_and_resumed_training(place: Workplace) -> None:
    place.configure(trainer=LONG)
    began = time.time()
    with Exporting(place.var) as exporting:
        training = subprocess.Popen(
            [sys.executable, "-m", "ai_workflow", "run", "training", "--pipeline", "pipeline.yaml"],
            cwd=place.folder, env=place.environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            at_work = exporting.until(lambda found: found.get(f"training_run_active{OF_PIPELINE}") == 1)
            assert at_work[CHECKPOINT] > began
            saved = exporting.until(lambda found: found[CHECKPOINT] > at_work[CHECKPOINT])
            assert saved[f"pipeline_run_active{OF_RUN}"] == 1
        finally:
            training.kill()
            training.wait()
        killed = exporting.until(lambda found: found[f"pipeline_run_active{OF_RUN}"] == 0)
        assert killed[f"training_last_run_failed{OF_PIPELINE}"] == 1
        assert killed['pipeline_stage_last_failed{pipeline="small_credit",stage="trainer"}'] == 1
        assert killed['pipeline_stage_last_failed{pipeline="small_credit",stage="preprocessor"}'] == 0

        assert place.train().code == 0
        done = exporting.until(lambda found: f"pipeline_last_success_timestamp_seconds{OF_RUN}" in found)
    assert done[f"pipeline_last_run_failed{OF_RUN}"] == 0
    for stage in TRAINING:
        labels = f'{{pipeline="small_credit",stage="{stage}"}}'
        assert done[f"pipeline_stage_last_failed{labels}"] == 0
        assert done[f"pipeline_stage_last_success_timestamp_seconds{labels}"] > began
    assert done['pipeline_stage_last_rows{pipeline="small_credit",stage="data_loader"}'] == 300
    assert done['model_registry_info{alias="latest",model_version="model_v1.0",pipeline="small_credit"}'] == 1
    assert not any(value for name, value in done.items() if name.startswith("exporter_source_failures_total"))
