"""Cache keys of stages: they hold the options that can change a result, and no others."""

from __future__ import annotations

from collections.abc import Callable
from types import FunctionType
from typing import Any

import pytest

from ai_workflow import stage_names
from ai_workflow.config.settings import Settings
from ai_workflow.errors import StageError
from ai_workflow.evaluation import champion
from ai_workflow.orchestration import stage_task
from ai_workflow.stage_names import name_of, stage
from ai_workflow.stages import (
    data_loader,
    drift_detector,
    evaluation_store,
    evaluator,
    feature_engineering,
    inference,
    label_joiner,
    preprocessor,
    registry,
    result_store,
    trainer,
)
from ai_workflow.training import protocol

FEATURED = {"fingerprint": "f"}
WORKS: dict[str, Callable[..., Any]] = {
    "data_loader": data_loader.load,
    "preprocessor": preprocessor.preprocess,
    "feature_engineering": feature_engineering.fit,
    "trainer": trainer.train,
    "evaluator": evaluator.evaluate,
    "registry": registry.publish,
    "inference": inference.predict,
    "result_store": result_store.save,
    "label_joiner": label_joiner.join,
    "drift_detector": drift_detector.detect,
    "evaluation_store": evaluation_store.save,
}


def settings(**sections: Any) -> Settings:
    source = {"kind": "csv", "path": "rows.csv"}
    return Settings.model_validate(
        {"pipeline": "p", "task": "classification", "target": "y", "source": source, **sections}
    )


def of_training(**sections: Any) -> str:
    """Return the key of the trainer as the flow makes it."""
    s = settings(**sections)
    rows = protocol.rows_per_step(s.trainer.kind, s.training_batch_size)
    return stage_task.key(trainer.train, (FEATURED, s.trainer, rows), protocol.modules_of(s.trainer.kind))


def of_scoring(**sections: Any) -> str:
    """Return the key of a scoring by a version of LightGBM as the flow makes it."""
    s = settings(**sections)
    asked = inference.InferenceOptions(
        version="model_v1.0", folder=s.models, batch_size=s.scoring_batch_size, timeout=s.model.timeout
    )
    return stage_task.key(inference.predict, (FEATURED, asked), protocol.modules_of("lightgbm"))


def of_loading(source: dict[str, Any], *files: dict[str, Any]) -> str:
    return stage_task.key(data_loader.load, (settings(source=source).source, list(files)))


def of_champion(timeout: float, version: str = "model_v1.0") -> str:
    return stage_task.key(
        evaluator.evaluate, (champion.ChampionOptions(version=version, folder="models", timeout=timeout),)
    )


def moved(work: Callable[..., Any], module: str, file: str) -> Callable[..., Any]:
    """Return the function as another module in another file would hold it."""
    assert isinstance(work, FunctionType)
    code = work.__code__.replace(co_filename=file)
    copied = FunctionType(code, {**work.__globals__, "__name__": module}, work.__name__)
    copied.__module__ = module
    copied.__dict__.update(work.__dict__)
    return copied


@pytest.mark.integration
def test_every_stage_has_the_name_that_journals_and_dashboards_know() -> None:
    assert {name: name_of(work) for name, work in WORKS.items()} == {name: name for name in WORKS}
    assert name_of(feature_engineering.apply) == "feature_engineering"
    for name, work in WORKS.items():
        assert name_of(moved(work, "elsewhere.renamed", "/elsewhere/renamed.py")) == name
        assert stage_task.key(work, ()).startswith(f"{name}/")


def test_two_stages_cannot_have_one_name() -> None:
    with pytest.raises(StageError, match=r"two stages are named 'trainer', in .*trainer\.py and in .*test_stage_keys"):
        stage("trainer")(lambda store: {})


@pytest.mark.parametrize("name", ["", "Trainer", "my-stage", "1st", "run", "recovery", "a b", "a/b", "ü", "x\n"])
def test_a_name_that_a_journal_cannot_hold_is_refused(name: str) -> None:
    with pytest.raises(StageError) as caught:
        stage(name)
    assert repr(name) in caught.value.problem
    assert caught.value.remedy


def test_a_function_without_a_name_is_refused() -> None:
    def enrich(store: Any) -> dict[str, Any]:
        return {}

    with pytest.raises(StageError, match=r"enrich has no stage name\. Declare it with `@stage"):
        stage_task.key(enrich, ())


@pytest.mark.integration
def test_a_stage_of_a_team_has_a_key_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage_names, "_files", dict(stage_names._files))

    @stage("enrich_2")
    def enrich(store: Any) -> dict[str, Any]:
        return {}

    assert stage_task.key(enrich, ()).startswith("enrich_2/")
    # As a flow file is loaded: Python does not find its module by name.
    enrich.__module__ = "loaded_by_path"
    assert stage_task.key(enrich, ()).startswith("enrich_2/")


@pytest.mark.parametrize(
    "change",
    [
        {"model": {"batch_size": 7}},
        {"trainer": {"batch_size": 7}},
        {"inference": {"batch_size": 7}},
        {"model": {"timeout": 3}},
        {"trainer": {"checkpoint": {"every_steps": 3, "keep": 1}}},
        {"trainer": {"validation": 0.3}},
        {"logging": {"level": "DEBUG"}},
    ],
)
def test_what_lightgbm_does_not_use_is_not_in_the_key_of_its_training(change: dict[str, Any]) -> None:
    assert of_training(**change) == of_training()


@pytest.mark.parametrize(
    "change",
    [
        {"steps": 3},
        {"seed": 3},
        {"params": {"num_leaves": 3}},
        {"params": {"num_leaves": None}},
        {"early_stopping": 5},
        {"kind": "torch_mlp"},
    ],
)
def test_what_a_training_uses_is_in_its_key(change: dict[str, Any]) -> None:
    assert of_training(trainer=change) != of_training()


def test_validation_is_in_the_key_where_early_stopping_watches_rows() -> None:
    shares = ({"early_stopping": 5, "validation": share} for share in (0.1, 0.3))
    assert len({of_training(trainer=each) for each in shares}) == 2


def test_the_training_batch_size_is_in_the_key_of_a_family_that_learns_in_batches() -> None:
    torch = {"kind": "torch_mlp"}
    assert of_training(trainer=torch, model={"batch_size": 7}) == of_training(trainer=torch | {"batch_size": 7})
    assert of_training(trainer=torch, model={"batch_size": 7}) != of_training(trainer=torch)
    assert of_training(trainer=torch, inference={"batch_size": 7}) == of_training(trainer=torch)


def test_a_family_takes_all_rows_at_once_exactly_where_its_key_has_no_batch_size() -> None:
    pytest.importorskip("lightgbm")
    assert protocol.trainer("lightgbm").batch_size is None
    assert protocol.rows_per_step("lightgbm", 128) is None
    assert {kind for kind in protocol.FAMILIES if protocol.rows_per_step(kind, 128)} == {"torch_mlp"}


def test_scoring_has_the_version_in_its_key_and_not_how_it_is_asked() -> None:
    changes: list[dict[str, Any]] = [
        {"model": {"batch_size": 7}},
        {"inference": {"batch_size": 7}},
        {"model": {"timeout": 3}},
        {"trainer": {"batch_size": 7}},
    ]
    assert {of_scoring(**each) for each in changes} == {of_scoring()}
    assert of_champion(30) == of_champion(3)
    assert of_champion(30) != of_champion(30, "model_v1.1")


def test_the_batch_sizes_are_those_of_the_model_where_they_are_not_given() -> None:
    s = settings(model={"batch_size": 7})
    assert (s.training_batch_size, s.scoring_batch_size) == (7, 7)
    s = settings(model={"batch_size": 7}, trainer={"batch_size": 3}, inference={"batch_size": 1000})
    assert (s.training_batch_size, s.scoring_batch_size) == (3, 1000)
    with pytest.raises(ValueError, match="greater than or equal to 1"):
        settings(trainer={"batch_size": 0})
    with pytest.raises(ValueError, match="greater than or equal to 1"):
        settings(inference={"batch_size": 0})


def test_files_count_by_name_and_content_and_not_by_their_place() -> None:
    csv, file = {"kind": "csv", "path": "a/*.csv"}, {"name": "x.csv", "path": "a/x.csv", "sha256": "1", "bytes": 3}
    before = of_loading(csv, file)
    assert of_loading(csv | {"path": "/b"}, file | {"path": "/b/x.csv"}) == before
    others = [of_loading(csv, file | {"sha256": "2"}), of_loading(csv, file | {"name": "y.csv"}), of_loading(csv)]
    others += [of_loading(csv | {"delimiter": ";"}, file), of_loading(csv | {"partition_rows": 5}, file)]
    assert len({before, *others}) == 6


def test_a_sample_has_only_its_own_options_in_the_key() -> None:
    digits, synthetic = ({"kind": "sample", "name": name} for name in ("digits", "synthetic"))
    assert of_loading(digits | {"rows": 5, "seed": 9, "drift": 1, "concept_drift": 0.5}) == of_loading(digits)
    assert of_loading(digits | {"missing": ["0"]}) != of_loading(digits)
    for change in ({"rows": 5}, {"seed": 9}, {"drift": 1}, {"concept_drift": 0.5}):
        assert of_loading(synthetic | change) != of_loading(synthetic)
