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
    parameter_search,
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
    "parameter_search": parameter_search.search,
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
def test_stage_names_are_stable_across_module_moves() -> None:
    assert {name: name_of(work) for name, work in WORKS.items()} == {name: name for name in WORKS}
    assert name_of(feature_engineering.apply) == "feature_engineering"
    for name, work in WORKS.items():
        assert name_of(moved(work, "elsewhere.renamed", "/elsewhere/renamed.py")) == name
        assert stage_task.key(work, ()).startswith(f"{name}/")


def test_duplicate_stage_name_is_rejected() -> None:
    with pytest.raises(StageError, match=r"two stages are named 'trainer', in .*trainer\.py and in .*test_stage_keys"):
        stage("trainer")(lambda store: {})


@pytest.mark.parametrize("name", ["", "Trainer", "my-stage", "1st", "run", "recovery", "a b", "a/b", "ü", "x\n"])
def test_invalid_stage_name_is_rejected(name: str) -> None:
    with pytest.raises(StageError) as caught:
        stage(name)
    assert repr(name) in caught.value.problem
    assert caught.value.remedy


def test_undecorated_stage_function_is_rejected() -> None:
    def enrich(store: Any) -> dict[str, Any]:
        return {}

    with pytest.raises(StageError, match=r"enrich has no stage name\. Declare it with `@stage"):
        stage_task.key(enrich, ())


@pytest.mark.integration
def test_custom_stage_has_own_cache_key(monkeypatch: pytest.MonkeyPatch) -> None:
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
def test_unused_lightgbm_options_do_not_change_cache_key(change: dict[str, Any]) -> None:
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
def test_training_options_change_cache_key(change: dict[str, Any]) -> None:
    assert of_training(trainer=change) != of_training()


def test_validation_share_changes_cache_key_with_early_stopping() -> None:
    shares = ({"early_stopping": 5, "validation": share} for share in (0.1, 0.3))
    assert len({of_training(trainer=each) for each in shares}) == 2


def test_training_batch_size_changes_cache_key_of_minibatch_models() -> None:
    torch = {"kind": "torch_mlp"}
    assert of_training(trainer=torch, model={"batch_size": 7}) == of_training(trainer=torch | {"batch_size": 7})
    assert of_training(trainer=torch, model={"batch_size": 7}) != of_training(trainer=torch)
    assert of_training(trainer=torch, inference={"batch_size": 7}) == of_training(trainer=torch)


def test_only_minibatch_model_families_have_batch_size() -> None:
    assert protocol.trainer("lightgbm").batch_size is None
    assert protocol.rows_per_step("lightgbm", 128) is None
    assert {kind for kind in protocol.FAMILIES if protocol.rows_per_step(kind, 128)} == {"torch_mlp"}


def test_scoring_cache_key_has_version_but_no_batch_size() -> None:
    changes: list[dict[str, Any]] = [
        {"model": {"batch_size": 7}},
        {"inference": {"batch_size": 7}},
        {"model": {"timeout": 3}},
        {"trainer": {"batch_size": 7}},
    ]
    assert {of_scoring(**each) for each in changes} == {of_scoring()}
    assert of_champion(30) == of_champion(3)
    assert of_champion(30) != of_champion(30, "model_v1.1")


def test_batch_sizes_default_to_model_batch_size() -> None:
    s = settings(model={"batch_size": 7})
    assert (s.training_batch_size, s.scoring_batch_size) == (7, 7)
    s = settings(model={"batch_size": 7}, trainer={"batch_size": 3}, inference={"batch_size": 1000})
    assert (s.training_batch_size, s.scoring_batch_size) == (3, 1000)
    with pytest.raises(ValueError, match="greater than or equal to 1"):
        settings(trainer={"batch_size": 0})
    with pytest.raises(ValueError, match="greater than or equal to 1"):
        settings(inference={"batch_size": 0})


def test_loading_cache_key_depends_on_file_name_and_content() -> None:
    csv, file = {"kind": "csv", "path": "a/*.csv"}, {"name": "x.csv", "path": "a/x.csv", "sha256": "1", "bytes": 3}
    before = of_loading(csv, file)
    assert of_loading(csv | {"path": "/b"}, file | {"path": "/b/x.csv"}) == before
    others = [of_loading(csv, file | {"sha256": "2"}), of_loading(csv, file | {"name": "y.csv"}), of_loading(csv)]
    others += [of_loading(csv | {"delimiter": ";"}, file), of_loading(csv | {"partition_rows": 5}, file)]
    assert len({before, *others}) == 6


def test_sample_cache_key_has_only_relevant_options() -> None:
    digits, synthetic = ({"kind": "sample", "name": name} for name in ("digits", "synthetic"))
    assert of_loading(digits | {"rows": 5, "seed": 9, "drift": 1, "concept_drift": 0.5}) == of_loading(digits)
    assert of_loading(digits | {"missing": ["0"]}) != of_loading(digits)
    for change in ({"rows": 5}, {"seed": 9}, {"drift": 1}, {"concept_drift": 0.5}):
        assert of_loading(synthetic | change) != of_loading(synthetic)
