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

from ai_workflow.errors import StageError
from ai_workflow.evaluation import champion, quality_gate
from ai_workflow.stages import evaluator, fold_model, parameter_search, registry
from ai_workflow.stages.feature_engineering import HOLDOUT
from ai_workflow.stages.parameter_search import SearchOptions
from ai_workflow.storage.store import Store
from ai_workflow.training import suggestions
from ai_workflow.training.loop import Training
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
    runs: list[int] = []
    original = Training.run

    def killed_in_the_third(training: Training) -> Any:
        runs.append(1)
        if len(runs) == 3:
            raise KeyboardInterrupt
        return original(training)

    monkeypatch.setattr(fold_model.Training, "run", killed_in_the_third)
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


def test_search_whose_trials_all_fail_is_one_error(store: Store) -> None:
    run = pipeline(store, trials=2, parameters={"drop_rate": {"low": 0.1, "high": 0.5}})
    with pytest.raises(StageError, match=r"all 2 trials of trainer\.search failed, the first with: .*drop_rate"):
        search(run)


def test_scored_folds_are_averaged(store: Store) -> None:
    run = pipeline(store, trials=1, folds=3, scored_folds=3)
    inputs = prepared(run)
    training = int((~rows(store, inputs[1])[HOLDOUT].to_numpy(bool)).sum())
    assert search(run, inputs)["report"]["rows"] == training


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
