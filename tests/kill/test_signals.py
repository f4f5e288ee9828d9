"""Asked to stop, a run saves what it has and says where the next one goes on; asked twice, it ends at once."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import httpx
import pytest

from ai_workflow.local.server import Server
from ai_workflow.telemetry import journal
from tests.kill.conftest import Reference
from tests.kill.kill_points import Moment
from tests.kill.kill_workspace import EVERY, Done, Place, Running

# Prefect passes a SIGTERM on to its own process, once all is told.
ENDED = (1, -signal.SIGTERM)
# Steps enough that a training is still under way when a signal comes.
LONG = {"steps": 5000, "early_stopping": 0}


def _state(server: Server, place: Place) -> str:
    """Return the state of the last run as the Prefect server knows it, once it has ended there."""
    url = f"{server.api_url}/flow_runs/{place.events()[0].flow_run_id}"
    deadline = time.monotonic() + 240
    while (name := str(httpx.get(url, trust_env=False, timeout=60).json()["state"]["type"])) == "RUNNING":
        assert time.monotonic() < deadline, "Prefect still says RUNNING"
        time.sleep(0.1)
    return name


def _asked(running: Running, place: Place, moment: Moment, *signals: signal.Signals) -> tuple[Done, float]:
    """Send signals at a moment, and return what was left and how long the process took to end."""
    assert running.until(lambda: moment.has_come(place))
    began = time.monotonic()
    for number in signals:
        running.process.send_signal(number)
        time.sleep(0.05)
    done = running.end(30)
    return done, time.monotonic() - began


@pytest.mark.kill
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signaled_training_saves_checkpoint_and_resumes_from_last_step(
    prefect_server: Server, place: Place, reference: Reference, number: signal.Signals
) -> None:
    done, seconds = _asked(place.start(), place, Moment("a checkpoint is there", 3), number)
    saved = place.checkpoint()

    assert done.code in ENDED, done.output
    assert seconds < 20
    assert "Traceback" not in done.output
    assert (
        f"{number.name}: the current stage saves its progress and ends; a second signal ends it at once" in done.output
    )
    [told] = [event.message for event in place.events() if event.status == journal.ERROR and event.stage == "trainer"]
    assert told.startswith(
        f"interrupted by {number.name}: the training is saved as model_step_{saved}. Rerun the same command"
    )
    assert journal.outcome(place.events()) == "failed in trainer"
    assert _state(prefect_server, place) == "CRASHED"

    again = place.run()
    assert again.code == 0, again.output
    assert again.resumed == saved
    assert place.run("scoring").code == 0
    reference.is_matched_by(place)


@pytest.mark.kill
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_second_signal_exits_immediately_and_loses_max_single_interval(
    prefect_server: Server, source: Path, tmp_path: Path, number: signal.Signals
) -> None:
    place = Place(tmp_path, source, trainer=LONG)
    done, seconds = _asked(place.start(), place, Moment("a checkpoint is there", 8), number, number)
    assert done.code in (*ENDED, 128 + number, -number), done.output
    assert "Traceback" not in done.output
    assert seconds < 10
    logged, saved = done.step(r"\] ai_pipeline.trainer: step "), place.checkpoint()
    assert logged - saved <= EVERY
    running = place.start()
    assert running.until(lambda: running.said("Restarting from step"))
    assert running.kill().resumed == saved


@pytest.mark.kill
def test_signaled_data_stage_keeps_finished_partitions(prefect_server: Server, source: Path, tmp_path: Path) -> None:
    place = Place(tmp_path, source, partition_rows=40)
    done, seconds = _asked(place.start(), place, Moment("a clean partition is there", 3), signal.SIGTERM)
    kept = place.vouched()
    assert done.code in ENDED, done.output
    assert seconds < 20
    assert "interrupted by SIGTERM: progress was saved. Rerun the same command to resume" in done.output
    assert journal.outcome(place.events()) == "failed in preprocessor"
    assert _state(prefect_server, place) == "CRASHED"
    assert 2 < sum(name.startswith("clean/") for name in kept) < 54
    assert place.run().code == 0
    written = place.vouched()
    assert [name for name, inode in kept.items() if written.get(name) != inode] == []


@pytest.mark.kill
def test_concurrent_training_of_same_model_is_rejected(prefect_server: Server, source: Path, tmp_path: Path) -> None:
    place = Place(tmp_path, source, trainer={"steps": 400, "early_stopping": 0})
    first, moment = place.start(), Moment("a checkpoint is there", 2)
    assert first.until(lambda: moment.has_come(place))
    first.process.send_signal(signal.SIGSTOP)
    try:
        refused = place.run()
    finally:
        first.process.send_signal(signal.SIGCONT)
    done = first.end()
    assert refused.code == 1
    assert f"process {first.process.pid} trains the same model on the same data now. Wait for it" in refused.output
    assert "Traceback" not in refused.output
    assert done.code == 0, done.output
    assert place.registry.versions() == ["model_v1.0"]
    place.outcome()
