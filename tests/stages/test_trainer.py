"""What training promises: a model that can be made again, that stops when it should, and that says how far it is."""

from __future__ import annotations

import zlib
from typing import Any

import pandas as pd
import pytest

from ai_workflow.datasets import partitions
from ai_workflow.errors import StageError
from ai_workflow.runtime import progress
from ai_workflow.stages.feature_engineering import HOLDOUT, TARGET
from ai_workflow.stages.training_rows import PartitionRows
from ai_workflow.storage.store import Store
from ai_workflow.training import protocol
from tests.stages.tables import Pipeline, Result, load, parted, people, rows, settings

pytestmark = pytest.mark.integration

ONE_THREAD = {"num_threads": 1, "min_data_in_leaf": 5}


def pipeline(store: Store, steps: int = 20, params: dict[str, Any] | None = None, **trainer: Any) -> Pipeline:
    return Pipeline(store, settings(trainer={"steps": steps, "params": ONE_THREAD | (params or {}), **trainer}))


def featured(run: Pipeline, *frames: pd.DataFrame) -> Result:
    return run.fit(run.clean(load(run.store, *(frames or parted(people(), 3)))))


def model(run: Pipeline, trained: Result) -> bytes:
    return run.store.read(trained["model"]["path"], trained["model"]["sha256"])


def refused(run: Pipeline, made: Result | None = None) -> str:
    with pytest.raises(StageError) as caught:
        run.train(made or featured(run))
    assert caught.value.remedy
    assert run.store.names("data/trained") == []
    return str(caught.value)


def noise(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the table with a target that nothing explains."""
    return frame.assign(bought=[str(zlib.crc32(b"%d" % number) % 2) for number in range(len(frame))])


def test_training_logs_loss_and_reports_every_step(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "ai_pipeline.trainer")
    seen: list[tuple[int, int, str]] = []
    run = pipeline(store)
    made = featured(run)
    progress.set_receiver(lambda *report: seen.append(report))
    try:
        trained = run.train(made)
    finally:
        progress.set_receiver(None)
    lines = [record.message for record in caplog.records if record.name == "ai_pipeline.trainer"]
    losses = dict(trained["losses"])
    assert lines[0] == "No checkpoint found, starting from scratch"
    assert lines[1:-1] == [f"step {step}/20 loss {losses[step]:.4f}" for step in range(2, 21, 2)]
    assert lines[-1] == trained["message"] == f"model trained, 20 steps, loss {losses[20]:.4f}"
    assert [report[:2] for report in seen] == [(step, 20) for step in range(1, 21)]
    assert seen[-1][2] == f"loss {losses[20]:.4f}"
    assert losses[20] < losses[2]


@pytest.mark.slow
def test_model_does_not_depend_on_store_or_partitioning(store: Store, tmp_path_factory: pytest.TempPathFactory) -> None:
    found = []
    for number, count in enumerate((3, 3, 1)):
        run = pipeline(store if not number else Store(tmp_path_factory.mktemp("other")), params={"num_threads": 0})
        trained = run.train(featured(run, *parted(people(), count)))
        found.append((model(run, trained), trained["fingerprint"], trained["losses"]))
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize("changes", [{"steps": 19}, {"params": {"learning_rate": 0.2}}])
def test_changed_setting_changes_model_fingerprint(store: Store, changes: dict[str, Any]) -> None:
    one, other = pipeline(store), pipeline(store, **changes)
    made = featured(one)
    assert one.train(made)["fingerprint"] != other.train(made)["fingerprint"]


def test_seed_makes_random_training_reproducible(store: Store) -> None:
    some = {"bagging_fraction": 0.5, "bagging_freq": 1}
    runs = [pipeline(store, params=some, seed=seed) for seed in (0, 0, 1)]
    made = featured(runs[0])
    first, again, other = (run.train(made)["fingerprint"] for run in runs)
    assert first == again != other


def test_holdout_rows_are_not_trained_on(store: Store, tmp_path_factory: pytest.TempPathFactory) -> None:
    run = pipeline(store)
    made = featured(run)
    trained = run.train(made)
    frame = rows(store, made)
    assert trained["training_rows"] == (~frame[HOLDOUT]).sum() == 400 - frame[HOLDOUT].sum()
    wrong = people()
    wrong["bought"] = [
        {"no": "yes", "yes": "no"}[label] if out else label
        for label, out in zip(wrong["bought"], frame[HOLDOUT], strict=True)
    ]
    other = pipeline(Store(tmp_path_factory.mktemp("other")))
    turned = featured(other, *parted(wrong, 3))
    assert not rows(other.store, turned)[TARGET].equals(frame[TARGET])
    assert other.train(turned)["fingerprint"] == trained["fingerprint"]


def test_early_stopping_keeps_best_step(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "ai_pipeline.trainer")
    run = pipeline(store, 60, {"learning_rate": 0.5}, early_stopping=5, validation=0.3)
    made = featured(run, *parted(noise(people()), 3))
    trained = run.train(made)
    losses = dict(trained["losses"])
    best = min(losses, key=lambda step: (losses[step], step))
    assert trained["steps"] == best
    assert trained["steps_run"] == best + 5 == max(losses) < 60
    assert f"stopped at step {best + 5}: no gain on the validation rows since step {best}" in caplog.text
    assert trained["message"] == f"model trained, {best} steps, loss {losses[best]:.4f}"
    short = pipeline(store, best, {"learning_rate": 0.5}, early_stopping=5, validation=0.3)
    assert model(run, trained) == model(short, short.train(made))


def test_no_early_stopping_trains_on_all_rows(store: Store) -> None:
    run, stopping = pipeline(store, 2), pipeline(store, 2, early_stopping=2, validation=0.25)
    made = featured(run)
    whole, watched = run.train(made), stopping.train(made)
    assert whole["validation_rows"] == 0
    assert watched["training_rows"] + watched["validation_rows"] == whole["training_rows"]
    assert 0.15 < watched["validation_rows"] / whole["training_rows"] < 0.35


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_early_stopping_without_validation_or_training_rows_is_rejected(store: Store, share: float) -> None:
    assert "trainer.validation" in refused(pipeline(store, early_stopping=3, validation=share))


@pytest.mark.parametrize(
    ("params", "key"),
    [
        ({"objective": "poisson"}, "trainer.params.objective"),
        ({"num_iterations": 5}, "trainer.params.num_iterations"),
        ({"num_leaves": 1}, "trainer.params.num_leaves"),
        ({"num_leafs": 31}, "Did you mean 'num_leaves'"),
    ],
)
def test_invalid_parameter_fails_stage_and_is_named(store: Store, params: dict[str, Any], key: str) -> None:
    assert key in refused(pipeline(store, params=params))


def test_non_finite_loss_fails_stage(store: Store) -> None:
    run = Pipeline(
        store,
        settings(
            task="regression", target="spent", trainer={"steps": 30, "params": ONE_THREAD | {"learning_rate": 1e200}}
        ),
    )
    said = refused(run)
    assert "the loss is inf at step" in said or "the loss is nan at step" in said
    assert "learning rate" in said


def test_no_possible_split_gives_constant_model_after_first_step(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "ai_pipeline.trainer")
    run = pipeline(store, params={"min_data_in_leaf": 10_000})
    made = featured(run)
    trained = run.train(made)
    frame = rows(store, made)
    share = frame[~frame[HOLDOUT]][TARGET].mean()
    answers = protocol.load("lightgbm", model(run, trained))(frame.iloc[:, 4:].to_numpy("float32"))
    assert answers[:, 1] == pytest.approx(share)
    assert (trained["steps"], [step for step, _ in trained["losses"]]) == (1, [1])
    assert "stopped at step 1: no split gains anything any more" in caplog.text


def test_step_count_matches_model_trees_without_further_splits(store: Store) -> None:
    run = pipeline(store, 400, {"learning_rate": 1.0, "min_sum_hessian_in_leaf": 8.0})
    trained = run.train(featured(run))
    assert 1 < trained["steps"] < 400
    assert model(run, trained).count(b"\nTree=") == trained["steps"]
    assert trained["losses"][-1][0] == trained["steps"]


def test_mask_selects_partition_rows(store: Store) -> None:
    frame = pd.DataFrame({TARGET: [0.0, 1.0, 2.0], "a": [1.0, None, 3.0], "b": [4.0, 5.0, 6.0]})
    part = partitions.write(store, "data/part.parquet", frame, "rows.csv")
    picked = PartitionRows(store, part, ["b", "a"], frame[TARGET].to_numpy() > 0)
    x, y = picked.read()
    assert (len(picked), y.tolist(), x[1].tolist()) == (2, [1.0, 2.0], [6.0, 3.0])
    assert str(x.dtype) == "float32"
