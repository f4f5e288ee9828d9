"""A model that is not good enough is not published, and its card says why."""

from __future__ import annotations

import pytest

from tests.flows import sample_tables
from tests.flows.workspace import Run, Workplace

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def judged(trained_once: Workplace, tmp_path_factory: pytest.TempPathFactory) -> tuple[Workplace, dict[str, Run]]:
    """Models judged by three gates; the registry of the first is empty, that of the others has a `stable`."""
    place = trained_once.copy(tmp_path_factory.mktemp("gate"))
    source = {"kind": "csv", "path": str(trained_once.folder / "rows-*.csv")}
    worse = sample_tables.PIPELINE["trainer"] | {"steps": 1, "params": {"num_threads": 1, "num_leaves": 2}}
    gate = {"metric": "log_loss", "minimum": None, "tolerance": 0.05, "beat_baseline": False}
    place.configure("minimum.yaml", source=source, evaluate={"minimum": 0.9999, "metric": "auc"}, model={"path": "new"})
    place.configure("worse.yaml", source=source, trainer=worse, evaluate=gate)
    place.configure("tolerant.yaml", source=source, trainer=worse, evaluate=gate | {"tolerance": 5})
    place.configure("unknown.yaml", source=source, trainer=worse, evaluate={"positive_class": "maybe", "metric": "f1"})
    names = ("minimum", "worse", "tolerant", "unknown")
    runs = place.call([{"flow": "training", "config": f"{name}.yaml"} for name in names])
    return place, dict(zip(names, runs, strict=True))


def test_model_below_minimum_is_not_published_but_card_is_kept(judged: tuple[Workplace, dict[str, Run]]) -> None:
    place, runs = judged

    card = _assert_refused(runs["minimum"], place, "is below the minimum 0.9999 (evaluate.minimum)")
    assert "candidate, not published" in card
    assert not place.files("new/**/*")
    assert not place.leftovers()


def test_model_worse_than_stable_beyond_tolerance_is_not_published(
    judged: tuple[Workplace, dict[str, Run]],
) -> None:
    place, runs = judged

    card = _assert_refused(runs["worse"], place, "is worse than that of stable model_v1.0", "evaluate.tolerance")
    assert "| metric | this model | baseline | model_v1.0 |" in card
    # The tolerance decides, nothing else: with a wider one the same model passes.
    assert runs["tolerant"].code == 0, runs["tolerant"].output
    assert place.registry.versions() == ["model_v1.0", "model_v1.1"]
    assert place.registry.aliases() == {"latest": "model_v1.1", "stable": "model_v1.0"}


def test_gate_that_does_not_fit_the_classes_ends_the_run_before_the_training(
    judged: tuple[Workplace, dict[str, Run]],
) -> None:
    run = judged[1]["unknown"]
    assert run.code == 1
    assert "evaluate.positive_class 'maybe' is no class of the training rows" in run.output
    assert set(run.stages) == {"data_loader", "preprocessor", "feature_engineering"}


def _assert_refused(run: Run, place: Workplace, *says: str) -> str:
    """Return the card that the error names."""
    assert run.code == 1
    assert run.outcome == "failed in evaluator"
    (error,) = run.ours("ERROR")
    assert "the gate rejects the model" in error.message
    assert "Nothing is published" in error.message
    for part in says:
        assert part in error.message
    (card,) = [path for path in place.files("data/evaluated/*/card.md") if str(path) in error.message]
    return card.read_text()
