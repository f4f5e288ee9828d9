"""What the boosted trees promise: the same model every time, also after a stop, and memory that does not grow."""

from __future__ import annotations

import ctypes
import math
import os
import re
import weakref
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import pytest

from ai_workflow.config import settings
from ai_workflow.config.settings import lightgbm_bounds
from ai_workflow.config.settings.lightgbm_bounds import BOUNDS
from ai_workflow.config.settings.lightgbm_names import NAMES
from ai_workflow.errors import StageError
from ai_workflow.runtime import memory_pressure
from ai_workflow.training import protocol
from ai_workflow.training.families.native_output import silence_native_stderr
from ai_workflow.training.protocol import TrainingData
from tests.trainers import training_rows
from tests.trainers.training_rows import KINDS, Held, begun, data, options, spec, stepped, table


@pytest.fixture(scope="module")
def uninterrupted() -> dict[str, tuple[bytes, list[float]]]:
    """The model and the losses of a training of 12 steps, for each kind."""
    found = {}
    for kind in KINDS:
        made = begun(kind)
        losses = stepped(made, 12)
        found[kind] = made.finish(12), losses
    return found


@pytest.mark.integration
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.slow
def test_model_bytes_do_not_depend_on_process_or_threads(
    tmp_path: Path, threads: int, uninterrupted: dict[str, tuple[bytes, list[float]]]
) -> None:
    training_rows.elsewhere(str(tmp_path), str(threads), "whole", OMP_NUM_THREADS=str(threads))
    for kind, (model, losses) in uninterrupted.items():
        assert (tmp_path / f"{kind}.whole").read_bytes() == model
        assert (tmp_path / f"{kind}.whole-losses").read_text() == repr(losses)


@pytest.mark.slow
def test_resumed_training_in_other_process_gives_identical_model(
    tmp_path: Path, uninterrupted: dict[str, tuple[bytes, list[float]]]
) -> None:
    for kind in KINDS:
        made = begun(kind)
        stepped(made, 5)
        (tmp_path / f"{kind}.state").write_bytes(made.save())
    training_rows.elsewhere(str(tmp_path), "1", "resume")
    for kind, (model, losses) in uninterrupted.items():
        assert (tmp_path / f"{kind}.resume").read_bytes() == model
        assert (tmp_path / f"{kind}.resume-losses").read_text() == repr(losses[5:])


@pytest.mark.integration
@pytest.mark.parametrize("kind", KINDS)
def test_repeatedly_resumed_training_gives_identical_model(
    kind: str, uninterrupted: dict[str, tuple[bytes, list[float]]]
) -> None:
    made = begun(kind)
    for _ in range(12):
        state = made.save() if made.step() else b""
        made = begun(kind)
        made.load(state)
    assert made.finish(12) == uninterrupted[kind][0]


@pytest.mark.parametrize("kind", KINDS)
def test_truncated_model_equals_shorter_training(kind: str) -> None:
    longer, shorter = begun(kind), begun(kind)
    stepped(longer, 12)
    stepped(shorter, 4)
    assert longer.finish(4) == shorter.finish(4)
    assert longer.finish(4) != longer.finish(12)


@pytest.mark.parametrize("kind", KINDS)
def test_predictions_match_library_and_have_expected_shape(
    kind: str, uninterrupted: dict[str, tuple[bytes, list[float]]]
) -> None:
    model, (x, y) = uninterrupted[kind][0], table(kind)
    answers = protocol.load("lightgbm", model)(x)
    raw = np.asarray(lightgbm.Booster(model_str=model.decode()).predict(x))
    if kind == "regression":
        assert answers.tolist() == raw.tolist()
        assert np.abs(answers - y).mean() < np.abs(y - y.mean()).mean()
        return
    assert answers.shape == (len(x), len(np.unique(y)))
    assert answers.sum(axis=1) == pytest.approx(1)
    assert (answers.argmax(axis=1) == y).mean() > 0.75
    assert (answers[:, 1] if kind == "binary" else answers).tolist() == raw.tolist()


@pytest.mark.parametrize(("kind", "loss"), [("binary", "log"), ("multiclass", "log"), ("regression", "squared")])
def test_loss_is_computed_on_validation_rows(kind: str, loss: str) -> None:
    made = begun(kind)
    stepped(made, 3)
    x, y = data(kind).validation[0].read()
    answers = protocol.load("lightgbm", made.finish(3))(x)
    if loss == "log":
        expected = -np.log(answers[np.arange(len(y)), y.astype(int)]).mean()
    else:
        expected = ((answers - y) ** 2).mean()
    assert made.loss() == pytest.approx(expected, rel=1e-6)


def test_higher_is_better_metric_is_negated_to_loss() -> None:
    made = begun("binary", metric="auc")
    losses = stepped(made, 8)
    assert -1 <= losses[-1] < losses[0] < 0


def test_partitions_are_loaded_sequentially() -> None:
    alive: list[weakref.ref[np.ndarray]] = []
    most = 0

    class Watched(Held):
        def read(self) -> tuple[np.ndarray, np.ndarray]:
            nonlocal most
            x, y = super().read()
            alive.append(weakref.ref(x))
            most = max(most, sum(ref() is not None for ref in alive))
            return x, y

    x, y = table("binary", 2000)
    parts = [Watched(x[start : start + 100], y[start : start + 100]) for start in range(0, 2000, 100)]
    made = protocol.trainer("lightgbm")
    made.start(TrainingData(spec("binary"), parts, []), options())
    stepped(made, 2)
    # The one being read, and the one before it.
    assert most <= 2
    assert sum(ref() is not None for ref in alive) <= 1
    # Labels, the sample that the bins are made of, and the rows themselves.
    assert [len(part.reads) for part in parts] == [3] * 20
    made.load(made.save())
    assert most <= 2


def test_partitioning_does_not_change_model() -> None:
    models = set()
    for parts in (1, 4):
        made = protocol.trainer("lightgbm")
        made.start(data("multiclass", parts=parts), options())
        stepped(made, 3)
        models.add(made.finish(3))
    assert len(models) == 1


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"num_iterations": 5}, ["trainer.params.num_iterations", "set trainer.steps"]),
        ({"num_trees": 5}, ["trainer.params.num_trees", "set trainer.steps"]),
        ({"objective": "poisson"}, ["trainer.params.objective", "set task"]),
        ({"application": "binary"}, ["trainer.params.application", "set task"]),
        ({"early_stopping": 5}, ["trainer.params.early_stopping", "set trainer.early_stopping"]),
        ({"random_seed": 5}, ["trainer.params.random_seed", "set trainer.seed"]),
        ({"deterministic": False}, ["trainer.params.deterministic", "the same model"]),
        ({"learning_rat": 0.1}, ["trainer.params.learning_rat is not a parameter", "Did you mean 'learning_rate'?"]),
        ({"zzz": 1}, ["trainer.params.zzz is not a parameter"]),
        ({"learning_rate": "fast"}, ["trainer.params.learning_rate = 'fast'"]),
        ({"learning_rate": -1}, ["trainer.params.learning_rate = -1", "(learning_rate) > (0.0)"]),
        ({"max_bin": 31, "num_leaves": 1}, ["trainer.params.num_leaves = 1"]),
        ({"num_leaves": {"a": 1}}, ["trainer.params.num_leaves = {'a': 1}"]),
        ({"boosting": "bogus"}, ["trainer.params", "bogus"]),
        ({"monotone_constraints": [1]}, ["trainer.params.monotone_constraints has 1 values for 4 features"]),
        ({"eta": 0.1, "learning_rate": 0.2}, ["learning_rate", "eta", "the same parameter"]),
        ({"bagging_fraction": 0.5}, ["bagging_fraction has no effect without bagging_freq"]),
        ({"drop_rate": 0.5}, ["drop_rate has an effect only where boosting is dart"]),
        ({"top_rate": 0.5}, ["top_rate", "data_sample_strategy"]),
        ({"linear_lambda": 1}, ["linear_lambda", "linear_tree"]),
        ({"reg_sqrt": True}, ["reg_sqrt", "objective is regression"]),
        ({"quantile_alpha": 0.5}, ["trainer.params"]),
        ({"num_machines": 2}, ["num_machines has no effect"]),
        ({"predict_raw_score": True}, ["predict_raw_score has no effect"]),
        ({"cat_feature": "0"}, ["cat_feature is set by schema"]),
    ],
)
def test_invalid_parameter_is_named_with_remedy(params: dict[str, Any], said: list[str]) -> None:
    with pytest.raises(StageError) as caught:
        begun("binary", **params)
    assert caught.value.remedy
    for part in said:
        assert part in str(caught.value)
    assert not re.search(r"\.cpp|line \d", str(caught.value))


@pytest.mark.parametrize("params", [{"num_leaves": 99999999999}, {"learning_rate": "fast"}, {"boosting": "bogus"}])
def test_lightgbm_errors_are_not_printed_to_stderr(params: dict[str, Any], capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(StageError):
        begun("binary", **params)
    with pytest.raises(lightgbm.basic.LightGBMError):
        protocol.load("lightgbm", b"tree\nversion=v4\n")
    assert capfd.readouterr() == ("", "")


def test_python_stderr_output_is_kept_while_library_is_silenced(capfd: pytest.CaptureFixture[str]) -> None:
    library = ctypes.CDLL(None)
    with silence_native_stderr():
        with silence_native_stderr():
            library.perror(b"inside")
        library.perror(b"between")
        os.write(2, b"python\n")
    library.perror(b"after")
    shown = capfd.readouterr().err
    assert "python\n" in shown
    assert "after" in shown
    assert not {"inside", "between"} & set(re.findall(r"\w+", shown))


def test_parameter_names_match_lightgbm() -> None:
    library = lightgbm.basic._ConfigAliases._get_all_param_aliases()
    assert {alias: NAMES.get(alias) for name, aliases in library.items() for alias in (name, *aliases)} == {
        alias: name for name, aliases in library.items() for alias in (name, *aliases)
    }


@pytest.mark.parametrize("name", sorted(BOUNDS))
def test_parameter_bounds_match_lightgbm(name: str) -> None:
    bound, step = BOUNDS[name], 1 if BOUNDS[name].is_whole else 1e-6
    values = [edge + side * step for edge in (bound.low, bound.high) if math.isfinite(edge) for side in (-1, 0, 1)]
    values = [int(value) for value in values] if bound.is_whole else values
    for value in [*values, "fast"]:
        accepted = True
        try:
            with silence_native_stderr():
                lightgbm.Dataset(np.zeros((2, 1)), params={"verbosity": -1, name: value}).construct()
        except lightgbm.basic.LightGBMError:
            accepted = False
        assert (lightgbm_bounds.problem(name, value) is None) == accepted, value


@pytest.mark.parametrize("metric", ["none", "bogus"])
def test_metric_without_loss_is_named(metric: str) -> None:
    made = begun("binary", metric=metric)
    made.step()
    with pytest.raises(StageError, match=rf"trainer\.params\.metric '{metric}' gives no loss"):
        made.loss()


def test_parameter_alias_is_equivalent_to_parameter() -> None:
    models = []
    for params in ({"eta": 0.5}, {"learning_rate": 0.5}, {}):
        made = begun("binary", **params)
        stepped(made, 2)
        models.append(made.finish(2))
    assert models[0] == models[1] != models[2]


def test_model_without_splits_predicts_class_shares() -> None:
    made = begun("binary", min_data_in_leaf=10_000)
    assert made.step() is False
    x, _ = table("binary")
    y = np.concatenate([part.read()[1] for part in data("binary").training])
    assert protocol.load("lightgbm", made.finish(1))(x[:3])[:, 1] == pytest.approx(y.mean())
    assert np.isfinite(made.loss())


def test_relevant_features_have_largest_importance() -> None:
    made = begun("regression")
    stepped(made, 12)
    found = protocol.importance("lightgbm", made.finish(12), ["first", "square", "noise", "kind"])
    assert (found[0]["feature"], found[-1]["feature"]) == ("first", "noise")
    assert sum(item["share"] for item in found) == pytest.approx(1, abs=1e-4)


def few(count: int, kind: str = "regression") -> TrainingData:
    """Return rows whose target is a straight line of the first of three features."""
    x = np.column_stack([np.arange(count), np.arange(count) % 3, np.ones(count), np.zeros(count)]).astype("float32")
    y = 3.0 * x[:, 0] if kind == "regression" else (x[:, 0] >= count / 2).astype(float)
    return TrainingData(spec(kind), [Held(x, y.astype("float64"))], [])


def fitted(data: TrainingData, steps: int = 40, **params: Any) -> Any:
    made = protocol.trainer("lightgbm")
    made.start(data, settings.Trainer(steps=steps, params={"num_threads": 1, **params}))
    stepped(made, steps)
    return made


@pytest.mark.parametrize("alias", ["min_data_in_leaf", "min_child_samples", "min_samples_leaf"])
def test_rare_flag_is_learned_with_explicit_min_leaf_size(alias: str) -> None:
    flag = (np.arange(1200) % 150 == 0).astype("float32")
    noise = np.random.default_rng(3).normal(size=(1200, 3)).astype("float32")
    data = TrainingData(spec("regression", 4), [Held(np.column_stack([flag, noise]), 50.0 * flag)], [])
    model = fitted(data, 100, learning_rate=0.2, feature_fraction=1.0, **{alias: 1}).finish(100)
    rows = np.array([[1, 0, 0, 0], [0, 0, 0, 0]], dtype="float32")
    assert protocol.load("lightgbm", model)(rows).tolist() == pytest.approx([50, 0], abs=3)


@pytest.mark.parametrize("params", [{"min_data_in_bin": 200}, {"max_bin": 3}, {"bin_construct_sample_cnt": 50}])
def test_binning_parameters_change_model(params: dict[str, Any]) -> None:
    x, y = table("regression")
    data = TrainingData(spec("regression"), [Held(x, y)], [])
    assert fitted(data, 5).finish(5) != fitted(data, 5, **params).finish(5)


@pytest.mark.parametrize("count", [4, 9, 16, 30, 60])
@pytest.mark.parametrize("kind", ["regression", "binary"])
def test_parameters_adapt_to_few_training_rows(count: int, kind: str) -> None:
    data = few(count, kind)
    made = fitted(data, 200, learning_rate=0.2)
    assert made.adapted["min_data_in_leaf"] == [20, max(1, count // 5)]
    x, y = data.training[0].read()
    answers = protocol.load("lightgbm", made.finish(200))(x)
    answers = answers[:, 1] if kind == "binary" else answers
    assert np.abs(answers - y).mean() < 0.7 * np.abs(y - y.mean()).mean()


def test_explicit_parameter_is_not_adapted_to_few_rows() -> None:
    assert fitted(few(30), 1, min_child_samples=2).adapted == {"min_data_in_bin": [3, 1]}
    assert fitted(few(100), 1).adapted == {}


@pytest.mark.parametrize(("count", "least"), [(60, 12), (300, 30), (499, 49), (1000, None)])
def test_category_with_few_rows_is_learned(count: int, least: int | None) -> None:
    codes = np.arange(count, dtype="float32") % 6
    y = np.array([10, 0, 10, 0, 10, 0])[codes.astype(int)].astype("float64")
    data = TrainingData(spec("regression", 1), [Held(codes[:, None], y)], [])
    data.spec["features"][0]["vocabulary"] = list("abcdef")
    made = fitted(data, 100, learning_rate=0.2, min_data_in_leaf=5)
    assert made.adapted.get("min_data_per_group") == (least and [100, least])
    predictions = protocol.load("lightgbm", made.finish(100))(codes[:, None])
    assert np.abs(predictions - y).mean() < 1


@pytest.mark.parametrize("count", [1, 2, 25])
def test_constant_features_are_rejected_with_clear_error(count: int) -> None:
    data = TrainingData(spec("binary"), [Held(np.ones((count, 4), "float32"), np.arange(count) % 2.0)], [])
    with pytest.raises(StageError, match=rf"no feature of 4 can be split in {count} training rows"):
        fitted(data)


def test_lightgbm_error_names_operation_without_source_line() -> None:
    made = fitted(few(30), 2)
    with pytest.raises(StageError, match="LightGBM failed in a prediction") as caught:
        protocol.load("lightgbm", made.finish(2))(np.zeros((3, 2), "float32"))
    assert not re.search(r"\.cpp|line \d", str(caught.value))


def test_overflowing_gains_still_give_importance_shares() -> None:
    data = few(40)
    data = TrainingData(data.spec, [Held(part.x, part.y * 1e18) for part in data.training], [])  # type: ignore[attr-defined]
    shares = protocol.importance("lightgbm", fitted(data, 5).finish(5), list("abcd"))
    assert sum(item["share"] for item in shares) == pytest.approx(1, abs=1e-4)


def test_lightgbm_out_of_memory_has_specific_remedy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(*_: object, **__: object) -> None:
        raise lightgbm.basic.LightGBMError("std::bad_alloc")

    monkeypatch.setattr(lightgbm, "Booster", full)
    with pytest.raises(
        memory_pressure.OutOfMemoryError, match=r"memory ran out in LightGBM \(std::bad_alloc\)\. Give .*max_bin"
    ):
        begun("binary")
    with pytest.raises(memory_pressure.OutOfMemoryError, match=r"memory ran out in LightGBM .*num_leaves"):
        protocol.load("lightgbm", b"tree")


@pytest.mark.integration
def test_predictions_in_smaller_blocks_are_bit_identical(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    made = begun("multiclass")
    stepped(made, 3)
    model, x = made.finish(3), table("multiclass", 300)[0]
    whole, real = protocol.load("lightgbm", model)(x), lightgbm.Booster.predict

    def short(self: lightgbm.Booster, x: np.ndarray, **named: Any) -> Any:
        if len(x) > 100:
            raise lightgbm.basic.LightGBMError("std::bad_alloc")
        return real(self, x, **named)

    monkeypatch.setattr(lightgbm.Booster, "predict", short)
    assert protocol.load("lightgbm", model)(x).tobytes() == whole.tobytes()
    assert caplog.messages[0] == "Data batch size reduced from 300 to 150 due to memory pressure"
