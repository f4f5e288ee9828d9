"""What the multilayer perceptron promises: the same bytes after any stop, one partition in memory, clear refusals."""

from __future__ import annotations

import random
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ai_workflow.errors import StageError
from ai_workflow.training import protocol
from ai_workflow.training.families import mlp_model
from ai_workflow.training.protocol import TrainingData
from tests.trainers import small_mlps
from tests.trainers.small_mlps import BATCH, STEPS, STOPS, begun, end
from tests.trainers.training_rows import KINDS, Held, data, spec, table

pytestmark = pytest.mark.integration

torch = pytest.importorskip("torch", reason="PyTorch is missing. Install it: .venv/bin/pip install -e '.[torch]'")

Losses = list[tuple[int, float]]


@pytest.fixture(scope="module")
def uninterrupted() -> dict[str, tuple[bytes, Losses]]:
    """The model and the losses of a training that was never stopped, for each kind."""
    found = {}
    for kind in KINDS:
        losses: Losses = []
        found[kind] = end(begun(kind), STEPS, losses), losses
    return found


@pytest.mark.slow
def test_resumed_training_in_other_process_gives_identical_model(
    tmp_path: Path, uninterrupted: dict[str, tuple[bytes, Losses]]
) -> None:
    for kind in KINDS:
        made = begun(kind)
        for step in range(1, STEPS):
            made.step()
            made.loss()
            if step in STOPS:
                (tmp_path / f"{kind}.{step}").write_bytes(made.save())
    small_mlps.elsewhere(tmp_path)
    for kind, (model, losses) in uninterrupted.items():
        assert (tmp_path / f"{kind}.whole").read_bytes() == model
        for stop in STOPS:
            assert (tmp_path / f"{kind}.{stop}.end").read_bytes() == model, f"{kind} stopped after step {stop}"
            assert (tmp_path / f"{kind}.{stop}.losses").read_text() == repr(losses[stop:])


@pytest.mark.parametrize("early_stopping", [0, 10])
def test_training_resumed_after_every_step_gives_identical_model(early_stopping: int) -> None:
    rows = data("multiclass", validation=bool(early_stopping))
    whole = begun("multiclass", rows=rows, early_stopping=early_stopping)
    losses: Losses = []
    model = end(whole, 12, losses)
    made, again = begun("multiclass", rows=rows, early_stopping=early_stopping), []
    for step in range(12):
        made.step()
        again.append((step + 1, made.loss()))
        state = made.save()
        made = begun("multiclass", rows=rows, early_stopping=early_stopping)
        made.load(state)
    assert (made.finish(12), again) == (model, losses)


def test_training_is_isolated_from_global_random_state(
    uninterrupted: dict[str, tuple[bytes, Losses]],
) -> None:
    made, threads = begun("binary"), torch.get_num_threads()
    for number in range(STEPS):
        random.seed(number)
        np.random.seed(number)
        torch.manual_seed(number)
        made.step()
        made.loss()
        drawn = torch.rand(1)
        torch.manual_seed(number)
        assert torch.equal(drawn, torch.rand(1))
    assert made.finish(STEPS) == uninterrupted["binary"][0]
    assert torch.get_num_threads() == threads
    assert not torch.are_deterministic_algorithms_enabled()


@pytest.mark.parametrize(
    "params",
    [
        {"dropout": 0.0}, {"schedule": "none"}, {"weight_decay": 1.0}, {"hidden": [16]}, {"hidden": [], "dropout": 0.0},
        {"learning_rate": 0.02},
    ],
)  # fmt: skip
def test_every_parameter_changes_model(params: dict[str, Any], uninterrupted: dict[str, tuple[bytes, Losses]]) -> None:
    assert end(begun("binary", **params), STEPS) != uninterrupted["binary"][0]


def test_seed_makes_model_reproducible() -> None:
    models = []
    for seed in (0, 0, 1):
        made = protocol.trainer("torch_mlp")
        made.start(data("binary"), small_mlps.options().model_copy(update={"seed": seed}), BATCH)
        models.append(end(made, 3))
    assert models[0] == models[1] != models[2]


def test_batch_size_changes_model_and_is_recorded(
    uninterrupted: dict[str, tuple[bytes, Losses]], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "ai_pipeline.trainer")
    other = end(begun("binary", batch=49), STEPS)
    assert other != uninterrupted["binary"][0]
    assert [mlp_model.deserialize(model)[1]["batch_size"] for model in (uninterrupted["binary"][0], other)] == [50, 49]
    assert caplog.messages == ["a network of 9-16-8-2, 49 rows per step"]


def test_resume_with_reduced_batch_size_gives_identical_model() -> None:
    whole, made = begun("binary"), begun("binary")
    for each in (whole, made):
        end(each, 7)
        each.batch_size = 25
    state = made.save()
    made = begun("binary")
    made.load(state)
    made.batch_size = 25
    model = end(made, STEPS, first=7)
    assert model == end(whole, STEPS, first=7)
    assert mlp_model.deserialize(model)[1]["batch_size"] == 25


@pytest.mark.parametrize("kind", KINDS)
def test_validation_loss_matches_predictions_without_pytorch(kind: str) -> None:
    made = begun(kind)
    losses: Losses = []
    model = end(made, 4, losses)
    x, y = data(kind).validation[0].read()
    answers = protocol.load("torch_mlp", model)(x)
    if kind == "regression":
        expected = ((answers - y) ** 2).mean()
    else:
        assert answers.sum(axis=1) == pytest.approx(1)
        expected = -np.log(answers[np.arange(len(y)), y.astype(int)]).mean()
    assert losses[-1][1] == pytest.approx(expected, rel=1e-5)


def test_validation_runs_five_times_within_early_stopping_patience() -> None:
    held = data("binary")
    made = begun("binary", rows=held, early_stopping=10)
    losses: Losses = []
    end(made, 20, losses)
    assert len({loss for _, loss in losses}) == 11
    assert all(losses[step - 1][1] == losses[step][1] for step in range(2, 20, 2))


def test_early_stopping_keeps_best_step_weights() -> None:
    x, y = table("binary", 200)
    rows = TrainingData(spec("binary"), [Held(x[:60], y[:60])], [Held(x[60:], 1 - y[60:])])
    made = begun("binary", rows=rows, dropout=0.0, learning_rate=0.05)
    losses: Losses = []
    last = end(made, 15, losses)
    best = min(losses, key=lambda each: each[1])[0]
    assert best < 15
    short = begun("binary", rows=rows, dropout=0.0, learning_rate=0.05)
    assert made.finish(best) == end(short, best) != last
    with pytest.raises(LookupError, match=rf"step 14 are not kept: the best step was {best}"):
        made.finish(14)


def test_loss_without_validation_is_mean_of_recent_training_steps() -> None:
    made = begun("regression", rows=data("regression", validation=False), early_stopping=0)
    losses: Losses = []
    end(made, 25, losses)
    assert 0 < losses[-1][1] < losses[0][1]


@pytest.mark.parametrize(("validation", "most"), [(False, 1), (True, 2)])
def test_partitions_are_loaded_sequentially(validation: bool, most: int) -> None:
    alive: list[weakref.ref[np.ndarray]] = []
    counts = []

    class Watched(Held):
        def read(self) -> tuple[np.ndarray, np.ndarray]:
            x, y = super().read()
            alive.append(weakref.ref(x))
            counts.append(sum(ref() is not None for ref in alive))
            return x, y

    x, y = table("binary", 2000)
    parts = [Watched(x[start : start + 100], y[start : start + 100]) for start in range(0, 2000, 100)]
    rows = TrainingData(spec("binary"), parts[:15] if validation else parts, parts[15:] if validation else [])
    made = begun("binary", batch=70, rows=rows, early_stopping=10 if validation else 0)
    end(made, 60)
    made.load(made.save())
    made.step()
    assert max(counts) == most
    # Once for the mean and the deviation, then once in each epoch of 29 steps.
    assert validation or sum(len(part.reads) for part in parts) == 20 + 20 + 20 + 3


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"hiden": [4]}, ["trainer.params.hiden is not a parameter of torch_mlp", "Did you mean 'hidden'?"]),
        ({"zzz": 1}, ["trainer.params.zzz is not a parameter", "There are hidden, learning_rate"]),
        ({"hidden": [0]}, ["trainer.params.hidden.0", "greater than or equal to 1"]),
        ({"dropout": 1}, ["trainer.params.dropout", "less than 1"]),
        ({"learning_rate": "fast"}, ["trainer.params.learning_rate", "number"]),
        ({"schedule": "step"}, ["trainer.params.schedule", "'cosine' or 'none'"]),
        ({"evaluate_every": 11}, ["trainer.params.evaluate_every is 11", "after 10 steps"]),
    ],
)
def test_invalid_parameter_is_named_with_remedy(params: dict[str, Any], said: list[str]) -> None:
    with pytest.raises(StageError) as caught:
        begun("binary", **params)
    assert caught.value.remedy
    for part in said:
        assert part in str(caught.value)
