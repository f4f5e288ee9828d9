"""What a checkpoint promises: the newest good one is found, nothing foreign is, and what is lost is said."""

from __future__ import annotations

import logging
import random
import signal
import time
import uuid
from pathlib import Path
from typing import Any

import pytest

from ai_workflow.config import settings
from ai_workflow.errors import StageError, StoreError
from ai_workflow.storage.store import Store
from ai_workflow.training.checkpoints import Checkpoints
from ai_workflow.training.loop import Training
from tests import processes
from tests.tables import DAMAGES, damage

FINGERPRINT = "0123456789abcdef"
FOLDER = f"checkpoints/credit/{FINGERPRINT}"
FIGURES = {"step": 10, "losses": [[5, 0.5], [10, 0.25]]}
SAVE = """
    import sys
    from ai_workflow.training.checkpoints import Checkpoints
    from ai_workflow.storage.store import Store
    checkpoints = Checkpoints(Store(sys.argv[1]), "credit", "0123456789abcdef", 2)
    with checkpoints.locked():
        step = found.step if (found := checkpoints.newest()) else 0
        assert found is None or found.state == b"%d" % step * 20_000, step
        print(step, flush=True)
        while True:
            step += 1
            checkpoints.save(step, b"%d" % step * 20_000, {"step": step})
            print(step, flush=True)
"""
HOLD = """
    import sys, time
    from ai_workflow.training.checkpoints import Checkpoints
    from ai_workflow.storage.store import Store
    with Checkpoints(Store(sys.argv[1]), "credit", "0123456789abcdef", 2).locked():
        print("held", flush=True)
        time.sleep(60)
"""


@pytest.fixture(params=["folder", "memory://"])
def anywhere(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """A store of each kind."""
    return Store(tmp_path if request.param == "folder" else f"memory://{uuid.uuid4().hex}")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def _checkpoints(store: Store, *, keep: int = 3, fingerprint: str = FINGERPRINT) -> Checkpoints:
    return Checkpoints(store, "credit", fingerprint, keep)


def _saved(store: Store, *steps: int, keep: int = 3) -> Checkpoints:
    made = _checkpoints(store, keep=keep)
    for step in steps:
        made.save(step, _state(step), {"step": step})
    return made


def _state(step: int) -> bytes:
    return b"%d" % step * 500


def test_saved_checkpoint_is_restored(anywhere: Store) -> None:
    checkpoints = _checkpoints(anywhere)
    seconds = checkpoints.save(10, b"state", FIGURES)
    found = checkpoints.newest()
    assert found is not None
    assert (found.step, found.name, found.state, found.figures) == (10, "model_step_10", b"state", FIGURES)
    assert seconds > 0


def test_debug_log_shows_checkpoint_size(anywhere: Store, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="ai_pipeline")
    made = Checkpoints(anywhere, "credit", FINGERPRINT, 2)
    made.save(10, b"x" * 1234, FIGURES)
    made.newest()
    saved, read = [text for text in caplog.messages if "bytes" in text and text.startswith("checkpoint ")]
    assert saved.startswith("checkpoint model_step_10 saved, 1234 bytes in ")
    assert read == "checkpoint model_step_10 read, 1234 bytes"


def test_missing_checkpoint_returns_none_without_log(anywhere: Store, caplog: pytest.LogCaptureFixture) -> None:
    assert _checkpoints(anywhere).newest() is None
    assert not caplog.records


def test_newest_checkpoint_has_highest_step_number(anywhere: Store) -> None:
    checkpoints = _saved(anywhere, 9, 10, 100)
    assert checkpoints.steps() == [9, 10, 100]
    found = checkpoints.newest()
    assert found is not None
    assert found.step == 100


def test_only_newest_checkpoints_are_kept(anywhere: Store) -> None:
    assert _saved(anywhere, 1, 2, 3, 4, keep=2).steps() == [3, 4]
    names = {f"model_step_{step}.{kind}" for step in (3, 4) for kind in ("state", "json")}
    assert set(anywhere.names(FOLDER)) == {*names, "expected.json"}


def test_cleared_checkpoints_are_no_loss(anywhere: Store, caplog: pytest.LogCaptureFixture) -> None:
    checkpoints = Checkpoints(anywhere, "credit", FINGERPRINT, 2)
    checkpoints.clear()
    for step in (10, 20):
        checkpoints.save(step, b"state", FIGURES)  # type: ignore[arg-type]
    checkpoints.clear()
    assert checkpoints.steps() == []
    assert not [name for name in anywhere.names(FOLDER) if name != ".lock"]
    assert checkpoints.newest() is None
    assert not caplog.records


def test_next_save_removes_orphaned_checkpoint_state(anywhere: Store) -> None:
    checkpoints = _saved(anywhere, 10)
    anywhere.write(f"{FOLDER}/model_step_17.state", b"no record")
    checkpoints.save(20, _state(20), {})
    assert "model_step_17.state" not in anywhere.names(FOLDER)
    assert checkpoints.steps() == [10, 20]


@pytest.mark.parametrize("kind", DAMAGES)
@pytest.mark.parametrize("suffix", ["state", "json"])
def test_damaged_newest_checkpoint_falls_back_with_warning(
    store: Store, caplog: pytest.LogCaptureFixture, suffix: str, kind: str
) -> None:
    checkpoints = _saved(store, 10, 20)
    damage(store, f"{FOLDER}/model_step_20.{suffix}", kind)
    found = checkpoints.newest()
    assert found is not None
    assert (found.step, found.state) == (10, _state(10))
    warned = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert any("model_step_20" in text and str(store.local(FOLDER)) in text for text in warned)
    assert "the steps after 10 are trained again" in caplog.text


@pytest.mark.parametrize("suffix", ["state", "json"])
def test_damaged_checkpoint_is_renamed_and_can_be_saved_again(store: Store, suffix: str) -> None:
    checkpoints = _saved(store, 10, 20)
    damage(store, f"{FOLDER}/model_step_20.{suffix}", "a bit flipped")
    checkpoints.newest()
    names = store.names(FOLDER)
    assert {"model_step_20.state.damaged", "model_step_20.json.damaged"} <= set(names)
    assert checkpoints.steps() == [10]
    checkpoints.save(20, _state(20), {})
    found = checkpoints.newest()
    assert found is not None
    assert found.state == _state(20)


def test_all_checkpoints_damaged_logs_error_with_lost_steps(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    checkpoints = _saved(store, 10, 20)
    for step in (10, 20):
        damage(store, f"{FOLDER}/model_step_{step}.state", "cut short")
    assert checkpoints.newest() is None
    [said] = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    where = store.local(FOLDER)
    assert said == (
        f"checkpoint model_step_20 was saved in {where} and is not there any more: all 20 steps are trained again"
    )


def test_deleted_checkpoints_log_error_with_expected_step(anywhere: Store, caplog: pytest.LogCaptureFixture) -> None:
    checkpoints = _saved(anywhere, 10)
    for suffix in ("state", "json"):
        anywhere.remove(f"{FOLDER}/model_step_10.{suffix}")
    assert checkpoints.newest() is None
    assert "model_step_10 was saved in" in caplog.text


@pytest.mark.parametrize("kind", DAMAGES)
def test_damaged_expectation_file_still_loads_newest_checkpoint(store: Store, kind: str) -> None:
    checkpoints = _saved(store, 10, 20)
    damage(store, f"{FOLDER}/expected.json", kind)
    found = checkpoints.newest()
    assert found is not None
    assert found.step == 20


def test_newest_checkpoint_survives_kill_before_expectation_update(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    checkpoints = _saved(store, 10)
    before = store.read(f"{FOLDER}/expected.json")
    checkpoints.save(20, _state(20), {})
    store.write(f"{FOLDER}/expected.json", before)
    found = checkpoints.newest()
    assert found is not None
    assert found.step == 20
    assert not caplog.records


def test_checkpoint_record_with_wrong_name_is_rejected(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    checkpoints = _saved(store, 10)
    store.local(f"{FOLDER}/model_step_10.json").rename(store.local(f"{FOLDER}/model_step_99.json"))
    assert checkpoints.newest() is None
    assert "model_step_99.json is of step 10" in caplog.text


def test_checkpoint_of_other_fingerprint_is_never_loaded(anywhere: Store) -> None:
    _saved(anywhere, 10, 20)
    other = _checkpoints(anywhere, fingerprint="f" * 16)
    assert other.newest() is None
    other.save(5, b"other", {})
    found = _checkpoints(anywhere).newest()
    assert found is not None
    assert found.step == 20


def test_failed_save_keeps_previous_checkpoints(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoints = _saved(store, 10)
    with monkeypatch.context() as patch:
        patch.setattr(Store, "write_record", _refuse)
        with pytest.raises(StoreError, match="no space"):
            checkpoints.save(20, _state(20), {})
    found = checkpoints.newest()
    assert found is not None
    assert found.step == 10


def _refuse(*_: Any) -> None:
    raise StoreError("no space")


@pytest.mark.slow
def test_finished_checkpoints_survive_repeated_kills_during_save(tmp_path: Path) -> None:
    draw, reached = random.Random(0), 0
    for _ in range(20):
        saver = processes.start(SAVE, tmp_path)
        assert saver.stdout is not None
        found = int(saver.stdout.readline())
        # What it said was saved is there; one more may be, saved but not said.
        assert found in (reached, reached + 1)
        time.sleep(draw.uniform(0, 0.06))
        saver.send_signal(signal.SIGKILL)
        said = saver.communicate()[0].splitlines()
        reached = int(said[-1]) if said else found
    assert reached > 20
    # Half-written files are gone once the next one holds the lock.
    with _checkpoints(Store(tmp_path)).locked():
        assert not list((tmp_path / FOLDER).glob(".*.part"))


@pytest.mark.integration
@pytest.mark.parametrize("root", ["folder", "memory://x"])
def test_concurrent_training_of_same_model_is_rejected(tmp_path: Path, root: str) -> None:
    store = Store(tmp_path if root == "folder" else f"memory://{tmp_path.name}")
    holder = processes.start(HOLD, tmp_path if root == "folder" else store.root)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        wanted = f"process {holder.pid} trains the same model on the same data now. Wait for it, or end it"
        with pytest.raises(StageError, match=wanted), _checkpoints(store).locked():
            pass
        with _checkpoints(store, fingerprint="f" * 16).locked():
            pass
    finally:
        holder.kill()
        holder.communicate()
    with _checkpoints(store).locked():
        pass


@pytest.mark.parametrize("left", [b"", b"12345", b"\xff\xfe garbage \x00" * 100])
def test_stale_lock_file_does_not_block_training(store: Store, left: bytes) -> None:
    store.write(f"{FOLDER}/.lock", left)
    with _checkpoints(store).locked():
        pass
    with _checkpoints(store).locked():
        pass


def test_unwritable_checkpoint_folder_raises_store_error(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").write_text("a file where a folder must be")
    with (
        pytest.raises(StoreError, match=r"\.lock cannot be written: Not a directory"),
        _checkpoints(Store(tmp_path)).locked(),
    ):
        pass


class _Counting:
    """A trainer whose state is the number of its steps; each takes `seconds`."""

    library, model_file, batch_size = "none", "model.txt", None

    def __init__(self, seconds: float = 0.0) -> None:
        self.done, self._seconds = 0, seconds

    def start(self, *_: Any) -> None: ...

    def step(self) -> bool:
        time.sleep(self._seconds)
        self.done += 1
        return True

    def loss(self) -> float:
        return 1.0 / (1 + self.done)

    def save(self) -> bytes:
        return str(self.done).encode()

    def load(self, state: bytes) -> None:
        self.done = int(state)

    def finish(self, step: int) -> bytes:
        return str(step).encode()


def _trained(store: Store, steps: int, often: settings.Checkpoint, seconds: float = 0.0) -> list[int]:
    """Train so many steps, and return those a checkpoint is kept of."""
    checkpoints = _checkpoints(store, keep=often.keep)
    Training(_Counting(seconds), settings.Trainer(steps=steps), checkpoints, often).run()
    return checkpoints.steps()


def test_checkpoint_is_saved_at_step_interval(store: Store) -> None:
    often = settings.Checkpoint(every_steps=4, every_seconds=3600, keep=100)
    assert _trained(store, 13, often) == [4, 8, 12]


@pytest.mark.integration
def test_checkpoint_is_saved_at_time_interval(store: Store) -> None:
    often = settings.Checkpoint(every_steps=1000, every_seconds=0.05, keep=100)
    saved = _trained(store, 12, often, seconds=0.02)
    assert 2 <= len(saved) <= 6


def test_resumed_training_keeps_checkpoint_interval(store: Store) -> None:
    often = settings.Checkpoint(every_steps=4, every_seconds=3600, keep=100)
    _trained(store, 9, often)
    assert _trained(store, 17, often) == [4, 8, 12, 16]


def test_log_shows_resume_step_and_checkpoint_overhead(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "ai_pipeline.trainer")
    often = settings.Checkpoint(every_steps=4, every_seconds=3600)
    _trained(store, 9, often)
    assert "No checkpoint found, starting from scratch" in caplog.messages
    assert any(text.startswith("checkpoints took ") and "% of the training" in text for text in caplog.messages)
    caplog.clear()
    _trained(store, 12, often)
    assert caplog.messages[:2] == ["Resuming from checkpoint: model_step_8", "Restarting from step 8"]
