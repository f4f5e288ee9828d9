"""Hyperparameter search: deterministic, resumable, on training rows only, with its trials in the model card."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ai_workflow.config.settings import Search, Trainer
from ai_workflow.errors import DeviceError, OwnCodeError, StageError
from ai_workflow.evaluation import champion, quality_gate
from ai_workflow.evaluation.report import Trial
from ai_workflow.evaluation.search import search_report
from ai_workflow.plugins import objects
from ai_workflow.plugins.names import CodePath
from ai_workflow.stages import evaluator, fold_model, parameter_search, registry
from ai_workflow.stages.feature_engineering import HOLDOUT
from ai_workflow.stages.parameter_search import SearchOptions
from ai_workflow.storage.store import Store
from ai_workflow.training import suggestions
from ai_workflow.training.checkpoints import TrainingLockedError
from ai_workflow.training.loop import Training
from tests.own_code import SGD, TeamFolder
from tests.stages import interruptions
from tests.stages.tables import Pipeline, Result, load, parted, people, rows, settings

pytestmark = pytest.mark.integration
ROOT = Path(__file__).parents[2]
RANGES = {"learning_rate": {"low": 0.01, "high": 0.3, "log": True}, "num_leaves": {"low": 2, "high": 31}}


def pipeline(store: Store, trials: int = 4, parameters: dict[str, Any] | None = None, **search: Any) -> Pipeline:
    options = {"trials": trials, "metric": "auc", "parameters": parameters or RANGES, **search}
    trainer = {"steps": 8, "params": {"num_threads": 1, "min_data_in_leaf": 5}, "search": options}
    evaluate = {"beat_baseline": False, "tolerance": 1}
    return Pipeline(store, settings(trainer=trainer, evaluate=evaluate), alone=True)


def prepared(run: Pipeline) -> tuple[Result, Result]:
    clean = run.clean(load(run.store, *parted(people(200).drop(columns="spent"), 2)))
    return clean, run.fit(clean)


def search(run: Pipeline, inputs: tuple[Result, Result] | None = None) -> Result:
    options = SearchOptions.of(run.settings)
    assert options is not None
    return parameter_search.search(run.store, *(inputs or prepared(run)), options)


def final_model(run: Pipeline, featured: Result, found: Result) -> tuple[Pipeline, Result]:
    chosen = Pipeline(run.store, parameter_search.apply(run.settings, found), alone=True)
    return chosen, chosen.train(featured)


@pytest.mark.slow
def test_same_settings_give_the_same_trials_and_another_seed_others(store: Store, tmp_path: Path) -> None:
    first, second = search(pipeline(store)), search(pipeline(Store(tmp_path)))
    assert first == second
    assert search(pipeline(store, seed=1))["report"]["top"] != first["report"]["top"]
    best = first["report"]["best"]
    assert best["value"] == max(trial["value"] for trial in first["report"]["top"])
    assert 0.01 <= best["params"]["learning_rate"] <= 0.3
    assert isinstance(best["params"]["num_leaves"], int)


@pytest.mark.slow
def test_finished_trials_are_not_repeated_after_a_kill_or_with_more_trials(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = search(pipeline(Store(tmp_path), trials=6))
    runs = interruptions.at_training(3, monkeypatch)
    run = pipeline(store)
    inputs = prepared(run)
    with pytest.raises(KeyboardInterrupt):
        search(run, inputs)
    search(run, inputs)
    assert len(runs) == 5
    assert search(pipeline(store, trials=6), inputs) == whole
    assert len(runs) == 7


@pytest.mark.slow
def test_search_killed_by_sigkill_ends_with_the_same_model(store: Store, tmp_path: Path) -> None:
    whole = pipeline(Store(tmp_path), trials=3)
    inputs = prepared(whole)
    _, trained = final_model(whole, inputs[1], search(whole, inputs))
    run = pipeline(store, trials=3)
    inputs = prepared(run)
    options = SearchOptions.of(run.settings)
    assert options is not None
    given = {"store": store.root, "inputs": inputs, "options": options.model_dump(mode="json", exclude_unset=True)}
    command = [sys.executable, "-m", "tests.stages.test_parameter_search", json.dumps(given)]
    child = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert child.stdout is not None
    lines = []
    for line in child.stdout:
        lines.append(line)
        if "trial 1/3" in line:
            os.kill(child.pid, signal.SIGKILL)
            break
    child.stdout.close()
    assert child.wait() == -signal.SIGKILL, "".join(lines)
    assert any(name.endswith(".json") for name in store.names("data/trials"))
    _, resumed = final_model(run, inputs[1], search(run, inputs))
    read = [s.read(t["model"]["path"], t["model"]["sha256"]) for s, t in ((whole.store, trained), (store, resumed))]
    assert read[0] == read[1]


def test_rows_held_out_take_no_part_in_the_search(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[np.ndarray, np.ndarray]] = []
    original = fold_model.divide

    def recorded(*arguments: Any) -> Any:
        folds = original(*arguments)
        seen.extend((np.concatenate(fold.learned), np.concatenate(fold.scored)) for fold in folds)
        return folds

    monkeypatch.setattr(fold_model, "divide", recorded)
    run = pipeline(store, trials=1)
    inputs = prepared(run)
    search(run, inputs)
    held_out = rows(store, inputs[1])[HOLDOUT].to_numpy(bool)
    assert len(seen) == 5
    for learned, scored in seen:
        assert not (learned & held_out).any()
        assert not (scored & held_out).any()
        assert not (learned & scored).any()
        assert learned.any()
        assert scored.any()


def test_failed_trials_are_recorded_and_shown_in_the_card(store: Store) -> None:
    # drop_rate is refused without dart.
    parameters = {"boosting": {"choices": ["gbdt", "dart"]}, "drop_rate": {"low": 0.1, "high": 0.5}}
    run = pipeline(store, trials=6, parameters=parameters, seed=1)
    clean, featured = prepared(run)
    found = search(run, (clean, featured))
    report = found["report"]
    assert 0 < report["failed"] < 6 == report["trials"]
    assert report["best"]["params"]["boosting"] == "dart"
    chosen, trained = final_model(run, featured, found)
    assert trained["hyperparameters"]["params"]["boosting"] == "dart"
    gate = quality_gate.QualityGate.of(chosen.settings)
    none = champion.ChampionOptions(version=None, folder=chosen.settings.models, timeout=10)
    evaluated = evaluator.evaluate(store, clean, featured, trained, gate, none, found)
    place = registry.RegistryOptions(folder=chosen.settings.models)
    published = registry.publish(store, featured, trained, evaluated, place)
    card = json.loads(store.read(f"{published['folder']}/card.json"))
    assert card["search"] == report
    text = store.read(f"{published['folder']}/card.md").decode()
    assert "## Hyperparameter search" in text
    assert f"6 trials, {report['failed']} failed" in text
    assert f"The best is trial {report['best']['number']}, with auc" in text


def test_mostly_failed_trials_are_warned_about(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    failing = {"boosting": {"choices": ["gbdt", "goss", "dart"]}, "drop_rate": {"low": 0.1, "high": 0.5}}
    run = pipeline(store, trials=4, parameters=failing)
    inputs = prepared(run)
    found = search(run, inputs)
    assert found["report"]["failed"] == 3
    assert found["warnings"][0].startswith("3 of 4 trials of trainer.search failed, the first with: ")
    assert found["warnings"][0] in caplog.text


@pytest.mark.parametrize(
    ("name", "low", "high", "values", "is_warned"),
    [
        ("num_leaves", 4, 31, [(4, 0.9), (9, 0.8)], True),
        ("num_leaves", 4, 31, [(5, 0.9), (9, 0.8)], False),
        # A tree has at least two leaves.
        ("num_leaves", 2, 31, [(2, 0.9), (9, 0.8)], False),
        ("num_leaves", 4, 6, [(4, 0.9), (6, 0.8)], False),
        ("num_leaves", 4, 31, [(4, 0.9), (9, 0.9)], False),
        ("learning_rate", 0.001, 1.0, [(0.00101, 0.9), (0.1, 0.8)], True),
        ("bagging_fraction", 0.5, 1.0, [(0.999, 0.9), (0.7, 0.8)], False),
        ("bagging_fraction", 0.5, 0.9, [(0.899, 0.9), (0.7, 0.8)], True),
    ],
)
def test_best_value_at_end_of_range_is_warned_about(
    name: str, low: float, high: float, values: list[tuple[float, float]], is_warned: bool
) -> None:
    given = {"low": low, "high": high, "log": name == "learning_rate"}
    options = Search.model_validate({"parameters": {name: given}})
    finished: list[Trial] = [
        {"number": number, "params": {name: value}, "value": score, "error": None}
        for number, (value, score) in enumerate(values, 1)
    ]
    report = search_report.of(options, "auc", finished, search_report.rank(finished, maximize=True), 9)
    warnings = list(search_report.doubts(options, Trainer(), report, finished))
    assert bool(warnings) == is_warned
    assert all(f"the best {name} of trainer.search is at the end of its range" in text for text in warnings)


def test_equal_trials_are_shown_once(store: Store) -> None:
    run = pipeline(store, trials=5, parameters={"boosting": {"choices": ["gbdt", "rf"]}})
    run.settings.trainer.params.update(bagging_fraction=0.5, bagging_freq=1)
    top = search(run)["report"]["top"]
    assert sorted(trial["params"]["boosting"] for trial in top) == ["gbdt", "rf"]


@pytest.mark.parametrize("fault", ["GPU", "own trainer", "own metric"])
def test_fault_that_is_not_of_the_parameters_fails_no_trial(
    store: Store, tmp_path: Path, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    metric = "costs:loss" if fault == "own metric" else "auc"
    team = TeamFolder(tmp_path)
    team.write(
        "costs.py",
        """
        broken = []

        def loss(target, prediction, probabilities):
            return 1 / len(broken)

        loss.greater_is_better = False
    """,
    )
    options = {"trials": 2, "metric": metric, "parameters": RANGES}
    trainer = {"steps": 8, "params": {"num_threads": 1, "min_data_in_leaf": 5}, "search": options}
    try:
        run = Pipeline(store, settings(trainer=trainer, evaluate={"metrics": ["costs:loss"]}), alone=True)
        inputs = prepared(run)
        if fault != "own metric":
            error = DeviceError("the GPU failed") if fault == "GPU" else OwnCodeError("step raised KeyError")

            def failing(_: Training) -> Any:
                raise error

            monkeypatch.setattr(fold_model.Training, "run", failing)
        with pytest.raises((DeviceError, OwnCodeError)):
            search(run, inputs)
        assert not list(store.local("data").glob("trials/*.json"))
        monkeypatch.undo()
        objects.load(CodePath("costs", "broken"), "")[1].append(1)
        # The metric that trials are not scored by would raise in the other cases.
        assert search(run, inputs)["report"]["failed"] == 0
    finally:
        team.forget()


def test_trial_whose_predictions_overflow_fails(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    options = {"trials": 3, "metric": "rmse", "parameters": RANGES}
    trainer = {"steps": 8, "params": {"num_threads": 1, "min_data_in_leaf": 5}, "search": options}
    run = Pipeline(store, settings(task="regression", target="spent", trainer=trainer), alone=True)
    clean = run.clean(load(store, *parted(people(200), 2)))
    original, calls = fold_model.FoldRows.score, []

    def overflowing(fold: fold_model.FoldRows, *arguments: Any) -> Any:
        calls.append(1)
        count, values = original(fold, *arguments)
        return count, {**values, "rmse": None} if len(calls) == 1 else values

    monkeypatch.setattr(fold_model.FoldRows, "score", overflowing)
    assert search(run, (clean, run.fit(clean)))["report"]["failed"] == 1
    assert not list(store.local("checkpoints").glob("*/*/model_step_*"))


def test_search_whose_trials_all_fail_is_one_error(store: Store) -> None:
    run = pipeline(store, trials=2, parameters={"bagging_fraction": {"low": 0.1, "high": 0.5}})
    with pytest.raises(
        StageError, match=r"all 2 trials of trainer\.search failed, the first with: .*bagging"
    ) as raised:
        search(run)
    assert "bagging_freq" in raised.value.remedy


def test_scored_folds_are_averaged(store: Store) -> None:
    run = pipeline(store, trials=1, folds=3, scored_folds=3)
    inputs = prepared(run)
    training = int((~rows(store, inputs[1])[HOLDOUT].to_numpy(bool)).sum())
    assert search(run, inputs)["report"]["rows"] == training


def test_finished_trials_leave_no_checkpoints(store: Store) -> None:
    run = pipeline(store, trials=2)
    search(run)
    assert list(store.local("data/trials").glob("*.json"))
    assert not list(store.local("checkpoints").glob("*/*/model_step_*"))


def test_trial_that_another_process_trains_is_not_recorded_as_failed(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = pipeline(store, trials=1)
    inputs = prepared(run)

    def locked(_: Training) -> Any:
        raise TrainingLockedError("process 7 trains the same model on the same data now")

    with monkeypatch.context() as patch:
        patch.setattr(fold_model.Training, "run", locked)
        with pytest.raises(TrainingLockedError):
            search(run, inputs)
    assert search(run, inputs)["report"]["failed"] == 0


def test_own_metric_is_the_objective(store: Store, tmp_path: Path) -> None:
    team = TeamFolder(tmp_path)
    team.write(
        "costs.py",
        """
        def loss(target, prediction, probabilities):
            return float(((probabilities["yes"] > 0.4) != (target == "yes")).mean())
    """,
    )
    try:
        options = {"trials": 3, "metric": "costs:loss", "parameters": RANGES}
        trainer = {"steps": 8, "params": {"num_threads": 1, "min_data_in_leaf": 5}, "search": options}
        run = Pipeline(store, settings(trainer=trainer, evaluate={"metrics": ["costs:loss"]}), alone=True)
        with pytest.raises(StageError, match=r"costs\.py:2: .*trainer\.search\.metric need its attribute"):
            parameter_search.check(SearchOptions.of(run.settings))
        objects.load(CodePath("costs", "loss"), "")[1].greater_is_better = False
        parameter_search.check(SearchOptions.of(run.settings))
        report = search(run)["report"]
    finally:
        team.forget()
    assert report["metric"] == "costs:loss"
    assert report["best"]["value"] == min(trial["value"] for trial in report["top"])


def test_search_by_time_scores_the_latest_rows(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    scored: list[np.ndarray] = []
    original = fold_model.FoldRows.score

    def recorded(fold: fold_model.FoldRows, *arguments: Any) -> Any:
        scored.append(np.concatenate(fold.scored))
        return original(fold, *arguments)

    monkeypatch.setattr(fold_model.FoldRows, "score", recorded)
    options = {"trials": 1, "metric": "auc", "folds": 4, "parameters": RANGES}
    trainer = {"steps": 8, "params": {"num_threads": 1, "min_data_in_leaf": 5}, "search": options}
    run = Pipeline(store, settings(trainer=trainer, timestamp="opened"), alone=True)
    clean, featured = prepared(run)
    search(run, (clean, featured))
    times, held_out = rows(store, clean)["opened"].to_numpy(), rows(store, featured)[HOLDOUT].to_numpy(bool)
    [latest] = scored
    assert times[latest].min() >= times[~latest & ~held_out].max()
    assert times[latest].max() <= times[held_out].min()


def test_parameter_that_own_code_does_not_declare_is_refused(tmp_path: Path) -> None:
    team = TeamFolder(tmp_path)
    text = SGD.read_text().replace("    library = ", '    parameters = ("alpha",)\n    library = ', 1)
    assert "parameters" in text
    try:
        team.write("models.py", text)
        ranges = {"alhpa": {"low": 0.1, "high": 1.0}}
        trainer = {"kind": "models:Trainer", "search": {"trials": 1, "parameters": ranges}}
        with pytest.raises(StageError, match=r"alhpa is not a parameter of models:\w+; known are alpha"):
            parameter_search.check(SearchOptions.of(settings(trainer=trainer)))
        team.write("others.py", text.replace('("alpha",)', '"alpha"'))
        with pytest.raises(StageError, match="its attribute parameters is str, not a list of names"):
            parameter_search.check(SearchOptions.of(settings(trainer=trainer | {"kind": "others:Trainer"})))
    finally:
        team.forget()


@pytest.mark.slow
def test_search_with_own_trainer_and_with_torch(store: Store, tmp_path: Path) -> None:
    team = TeamFolder(tmp_path)
    try:
        team.write("models.py", SGD.read_text())
        for kind, ranges in (
            ("models:Trainer", {"alpha": {"low": 1e-5, "high": 1e-2, "log": True}}),
            (
                "torch_mlp",
                {"learning_rate": {"low": 1e-4, "high": 1e-2, "log": True}, "hidden": {"choices": [[4], [8]]}},
            ),
        ):
            options = {"trials": 2, "metric": "auc", "parameters": ranges}
            run = Pipeline(store, settings(trainer={"kind": kind, "steps": 5, "search": options}), alone=True)
            clean, featured = prepared(run)
            found = search(run, (clean, featured))
            assert found["report"]["failed"] == 0
            _, trained = final_model(run, featured, found)
            assert trained["hyperparameters"]["params"].items() >= found["params"].items()
    finally:
        team.forget()


def test_missing_optuna_is_refused_with_the_install_line(monkeypatch: pytest.MonkeyPatch, store: Store) -> None:
    monkeypatch.setattr(suggestions.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(StageError, match="needs the package optuna") as caught:
        parameter_search.check(SearchOptions.of(pipeline(store).settings))
    assert "[search]" in caught.value.remedy


def test_trainer_stage_refuses_settings_with_a_search(store: Store) -> None:
    run = pipeline(store)
    with pytest.raises(StageError, match="parameter_search"):
        run.train(prepared(run)[1])


if __name__ == "__main__":
    from ai_workflow.telemetry import logs

    logs.setup("INFO", "text")
    arguments = json.loads(sys.argv[1])
    given_options = SearchOptions.model_validate(arguments["options"])
    parameter_search.search(Store(Path(arguments["store"])), *arguments["inputs"], given_options)
