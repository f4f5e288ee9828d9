"""Where a step does not fit into memory, the training goes on with fewer rows per step, also after it was killed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ai_workflow.config import settings
from ai_workflow.errors import StageError
from ai_workflow.storage.store import Store
from ai_workflow.training.checkpoints import Checkpoints
from ai_workflow.training.loop import Progress, Training

pytestmark = pytest.mark.integration

FOLDER = "checkpoints/credit/0123"


class _Fitting:
    """A trainer whose step `short` and all later ones fit with `fits` rows only; `log` has the rows of each step."""

    library, model_file = "none", "model.txt"

    def __init__(self, short: int, fits: int, batch_size: int | None = 128) -> None:
        self.batch_size, self.log = batch_size, [0] * 0
        self._short, self._fits = short, fits

    def start(self, *_: object) -> None: ...

    def step(self) -> bool:
        if len(self.log) + 1 >= self._short and (self.batch_size or 1000) > self._fits:
            raise MemoryError
        self.log.append(self.batch_size or 0)
        return True

    def loss(self) -> float:
        return 1.0

    def save(self) -> bytes:
        return json.dumps(self.log).encode()

    def load(self, state: bytes) -> None:
        self.log = json.loads(state)

    def finish(self, step: int) -> bytes:
        return self.save()


def trained(folder: Path, made: _Fitting, steps: int = 10) -> Progress:
    often = settings.Checkpoint(every_steps=4, every_seconds=3600, keep=5)
    checkpoints = Checkpoints(Store(folder), "credit", "0123", often.keep)
    return Training(made, settings.Trainer(steps=steps), checkpoints, often).run()


def test_batch_size_is_halved_until_step_fits_memory(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    made = _Fitting(short=7, fits=40)
    assert trained(tmp_path, made).batch_size == 32
    assert made.log == [128] * 6 + [32] * 4
    assert "Data batch size reduced from 128 to 64 due to memory pressure" in caplog.messages


def test_reduced_batch_size_is_saved_and_reused_on_resume(tmp_path: Path) -> None:
    trained(tmp_path, _Fitting(short=7, fits=40), steps=7)
    body = Store(tmp_path).read_record(f"{FOLDER}/model_step_6.json")
    assert body["figures"]["batch_size"] == 32
    # Memory is back; the run that was killed had gone on with fewer rows, and so does this one.
    resumed = _Fitting(short=99, fits=40)
    assert trained(tmp_path, resumed).batch_size == 32
    assert resumed.log == [128] * 6 + [32] * 4


def test_memory_error_at_minimum_batch_size_fails_training(tmp_path: Path) -> None:
    with pytest.raises(StageError, match=r"memory ran out with 8 rows at once at step 2\. Give .* trainer\.params"):
        trained(tmp_path, _Fitting(short=3, fits=0))


def test_full_batch_memory_error_is_not_retried(tmp_path: Path) -> None:
    with pytest.raises(MemoryError):
        trained(tmp_path, _Fitting(short=3, fits=10, batch_size=None))
