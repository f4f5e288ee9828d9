"""What scoring promises: one traceable answer for each row, the same however it is asked, and no model can hang it."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ai_workflow.datasets import partition_cache, partitions
from ai_workflow.datasets.partitions import ID, ROW
from ai_workflow.errors import AiWorkflowError, BrokenVersionError, StageError
from ai_workflow.features import transform
from ai_workflow.inference.model_process import ModelProcess
from ai_workflow.runtime import memory_pressure, progress
from ai_workflow.stages import inference
from ai_workflow.storage.store import Store
from ai_workflow.telemetry import trace_context
from ai_workflow.training import protocol
from tests.stages.tables import Made, Pipeline, Result, parted, people, rows, settings

pytestmark = pytest.mark.integration

TRACES = ("a3f7b2c1" * 4, "00000001" * 4)


@pytest.fixture(scope="module")
def asked(bought: Made) -> Result:
    """The features of rows that training never saw."""
    return bought.to_score(*parted(people(90, seed=9).drop(columns=["bought", "spent"]), 3))


@pytest.fixture(scope="module")
def answered(bought: Made, asked: Result) -> pd.DataFrame:
    """The answers for them, in batches of the default size and without a trace."""
    return scored(bought, asked)


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """The process ids of the models that were started."""
    pids: list[int] = []

    class Recorded(subprocess.Popen[bytes]):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            pids.append(self.pid)

    monkeypatch.setattr(subprocess, "Popen", Recorded)
    yield pids
    progress.set_receiver(None)


def scored(made: Made, featured: Result, **changes: Any) -> pd.DataFrame:
    store = made.pipeline.store
    return rows(store, inference.predict(store, featured, made.scoring(**changes)))


def forget(made: Made) -> None:
    """Remove the answers that are kept, which do not depend on the batch size: the model is asked again."""
    store = made.pipeline.store
    for name in store.names("data/scored"):
        store.remove(f"data/scored/{name}")


def direct(made: Made, featured: Result) -> np.ndarray:
    frame = rows(made.pipeline.store, featured)
    return protocol.load("lightgbm", made.file("model.txt"))(frame[transform.names(made.spec)].to_numpy("float32"))


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_batch_predictions_equal_direct_model_predictions(bought: Made, asked: Result, answered: pd.DataFrame) -> None:
    answers = direct(bought, asked)
    assert answered["prediction"].tolist() == [bought.spec["classes"][index] for index in answers.argmax(axis=1)]
    assert answered["score"].tolist() == answers.max(axis=1).tolist()
    assert set(answered["prediction"]) == {"no", "yes"}


@pytest.mark.slow
def test_regression_prediction_is_numeric_value(spent: Made) -> None:
    featured = spent.to_score(*parted(people(30, seed=9), 2))
    found = scored(spent, featured)
    assert found["prediction"].tolist() == found["score"].tolist() == direct(spent, featured).tolist()
    assert not [name for name in found if name.startswith("probability_")]


def test_prediction_rows_have_source_version_and_trace_id(bought: Made, asked: Result) -> None:
    with trace_context.bound(trace_id=TRACES[0]):
        result = inference.predict(bought.pipeline.store, asked, bought.scoring())
    found = rows(bought.pipeline.store, result)
    assert list(found.columns) == [
        "prediction_id", "id", "person", "row", "source", "prediction", "score", "probability_no", "probability_yes",
        "model_version", "trace_id",
    ]  # fmt: skip
    assert found["id"].tolist() == people(90, seed=9)["person"].tolist()
    assert found["row"].tolist() == list(range(1, 91))
    assert set(found["source"]) == {"rows.csv"}
    assert set(found["model_version"]) == {"model_v1.0"}
    assert set(found["trace_id"]) == {TRACES[0]}
    assert result["message"] == "90 rows scored by model_v1.0"
    assert (result["version"], result["rows"]) == ("model_v1.0", 90)


def test_prediction_rows_have_id_column_and_class_probabilities(
    bought: Made, asked: Result, answered: pd.DataFrame
) -> None:
    assert answered["person"].tolist() == answered["id"].tolist() == people(90, seed=9)["person"].tolist()
    columns = [f"probability_{name}" for name in bought.spec["classes"]]
    assert answered[columns].to_numpy().tolist() == direct(bought, asked).tolist()
    assert {str(answered[name].dtype) for name in columns} == {"float64"}


@pytest.mark.parametrize(("classes", "columns"), [(20, 20), (21, 0)])
def test_more_than_twenty_classes_have_no_probability_columns(classes: int, columns: int) -> None:
    names = [f"c{number:02d}" for number in range(classes)]
    answers = np.linspace(0, 1, 2 * classes, dtype="float32").reshape(2, classes)
    spec = {"classes": names, "id": None}
    part = partitions.Partition("x", "0" * 64, 1, 2, "rows.csv")
    frame = pd.DataFrame({ROW: [1, 2], ID: ["rows.csv:1", "rows.csv:2"]})
    scoring = inference.InferenceOptions(version="model_v1.0", folder="models", batch_size=1, timeout=1)
    found = inference._to_frame(frame, answers, spec, part, scoring)
    assert [name for name in found if name.startswith("probability_")] == [
        f"probability_{name}" for name in names[:columns]
    ]
    assert found["score"].tolist() == answers[:, -1].tolist()
    assert found["prediction"].tolist() == [names[-1]] * 2


@pytest.mark.slow
def test_prediction_ids_are_unique_and_stable_across_runs(bought: Made, asked: Result, answered: pd.DataFrame) -> None:
    assert answered["prediction_id"].is_unique
    pd.testing.assert_frame_equal(scored(bought, asked), answered)
    with trace_context.bound(trace_id=TRACES[1]):
        other = scored(bought, asked)
    assert set(other["trace_id"]) == {TRACES[1]}
    pd.testing.assert_frame_equal(other.drop(columns="trace_id"), answered.drop(columns="trace_id"))


@pytest.mark.slow
def test_equal_rows_of_two_files_have_distinct_ids(store: Store) -> None:
    frame = people(60).drop(columns=["person", "spent"])
    made = Pipeline(store, settings(id=None)).publish(frame, frame)
    found = scored(made, made.to_score(frame, frame))
    assert len(found) == 120
    assert found["prediction_id"].is_unique


@pytest.mark.parametrize("size", [1, pytest.param(7, marks=pytest.mark.slow)])
def test_predictions_do_not_depend_on_batch_size(
    bought: Made, asked: Result, answered: pd.DataFrame, size: int
) -> None:
    kept = inference.predict(bought.pipeline.store, asked, bought.scoring())
    forget(bought)
    again = inference.predict(bought.pipeline.store, asked, bought.scoring(batch_size=size))
    assert again["fingerprint"] == kept["fingerprint"], "the files of predictions have other bytes"
    pd.testing.assert_frame_equal(rows(bought.pipeline.store, again), answered)


def test_cached_predictions_are_reused_for_any_batch_size_and_timeout(
    bought: Made, asked: Result, answered: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ModelProcess, "predict", lambda *_: pytest.fail("the model is asked again"))
    pd.testing.assert_frame_equal(scored(bought, asked, batch_size=5, timeout=29), answered)


def test_scoring_reports_progress_per_partition(bought: Made, asked: Result, started: list[int]) -> None:
    seen: list[tuple[int, int]] = []
    progress.set_receiver(lambda done, total, _: seen.append((done, total)))
    scored(bought, asked)
    assert seen == [(1, 3), (2, 3), (3, 3)]
    assert len(started) == 1
    assert not alive(started[0])


@pytest.mark.slow
def test_killed_model_fails_stage_and_keeps_finished_partitions(
    bought: Made, asked: Result, answered: pd.DataFrame, started: list[int]
) -> None:
    forget(bought)
    progress.set_receiver(lambda done, *_: os.kill(started[0], signal.SIGKILL) if done == 1 else None)
    with pytest.raises(StageError) as caught:
        scored(bought, asked)
    assert "model_v1.0 was killed by signal 9" in str(caught.value)
    assert caught.value.remedy
    assert len(bought.pipeline.store.names("data/scored")) == 2
    assert not alive(started[0])
    progress.set_receiver(None)
    pd.testing.assert_frame_equal(scored(bought, asked), answered)


class SlowToStart(ModelProcess):
    """Gives the process all the time that a busy machine takes to start it; then its timeout holds."""

    def __enter__(self) -> ModelProcess:
        timeout, self._timeout = self._timeout, 60
        super().__enter__()
        self._timeout = timeout
        return self


@pytest.mark.parametrize("rows_at_once", [17, pytest.param(3_000, marks=pytest.mark.slow)])
def test_hung_model_fails_stage_within_timeout(
    bought: Made, started: list[int], rows_at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It hangs before it has read what it is asked: a small question, and one that no pipe can hold."""
    many = pd.concat([people(100, seed=9)] * (rows_at_once // 100 + 1)).drop(columns="person")
    many["person"] = [f"q{rows_at_once}-{number}" for number in range(len(many))]
    featured = bought.to_score(many.head(50), many.tail(len(many) - 50).reset_index(drop=True))
    begun: list[float] = []

    def stop(done: int, *_: object) -> None:
        os.kill(started[0], signal.SIGSTOP)
        begun.append(time.monotonic())

    progress.set_receiver(stop)
    monkeypatch.setattr(inference, "ModelProcess", SlowToStart)
    with pytest.raises(StageError, match=r"model_v1\.0 did not answer: it made no progress for 2 s") as caught:
        scored(bought, featured, batch_size=rows_at_once, timeout=2)
    assert 2 <= time.monotonic() - begun[0] < 10
    assert "model.timeout" in caught.value.remedy
    assert not alive(started[0])


def test_damaged_model_is_rejected_before_load(
    bought: Made, tmp_path_factory: pytest.TempPathFactory, started: list[int]
) -> None:
    store = Store(tmp_path_factory.mktemp("own"))
    made = Pipeline(store, settings()).publish(people().drop(columns="spent"))
    featured = made.to_score(people(20))
    path = store.local(f"{made.version.folder}/model.txt")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(BrokenVersionError, match=r"model_v1\.0/model\.txt is damaged"):
        inference.predict(store, featured, made.scoring())
    assert started == []


def test_missing_version_error_lists_available_versions(bought: Made, asked: Result) -> None:
    with pytest.raises(AiWorkflowError, match=r"model version 'model_v9\.9' not found.*available: model_v1\.0"):
        scored(bought, asked, version="model_v9.9")


@pytest.mark.slow
def test_damaged_prediction_partition_is_recomputed(bought: Made, asked: Result) -> None:
    store = bought.pipeline.store
    before = inference.predict(store, asked, bought.scoring())
    part = partitions.Dataset.load(store, before).partitions[0]
    store.local(part.path).write_bytes(b"")
    assert inference.predict(store, asked, bought.scoring()) == before
    assert partition_cache.find_corrupt(store, before) == []
    assert ID not in rows(store, before)


@pytest.mark.slow
def test_model_out_of_memory_is_broken_version_for_fallback(
    bought: Made, asked: Result, monkeypatch: pytest.MonkeyPatch
) -> None:
    def starved(*_: object) -> None:
        raise memory_pressure.OutOfMemoryError(
            "model_v1.0: memory ran out with 8 rows at once", "Train a smaller model"
        )

    forget(bought)
    monkeypatch.setattr(ModelProcess, "predict", starved)
    with pytest.raises(BrokenVersionError, match=r"memory ran out with 8 rows at once\. Train a smaller model"):
        scored(bought, asked)
