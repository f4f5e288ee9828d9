"""A broken latest model does not stop a scoring run: stable answers, and the run says so."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest

from ai_workflow.inference import fallback
from ai_workflow.registry import publication
from tests.flows.workspace import Workplace
from tests.tables import damage

GARBAGE = {"model.txt": b"tree\nversion=v4\nnot a model"}


def _publish(place: Workplace, changed: dict[str, bytes]) -> str:
    """Publish the files of `latest` once more, some of them changed, and return the folder."""
    found = place.registry.get("latest")
    files = {name: place.registry.read(found, name) for name in found.manifest["files"]} | changed
    about = {name: found.manifest[name] for name in ("kind", "model_file", "scores")}
    return publication.publish(place.registry, files, found.manifest["schema"], about).folder


def _damaged(file: str) -> Callable[[Workplace], Any]:
    return lambda place: damage(place.store, f"{_publish(place, {})}/{file}", "cut short")


@pytest.fixture
def rows(trained: Workplace) -> int:
    [path] = trained.files("predictions/*/model_v1.0/*/part-00000.parquet")
    return len(pd.read_parquet(path))


@pytest.mark.parametrize(
    "break_it",
    [
        lambda place: _publish(place, GARBAGE),
        _damaged("model.txt"),
        _damaged("features.json"),
        _damaged("manifest.json"),
        lambda place: shutil.rmtree(place.store.local(_publish(place, {}))),
    ],
    ids=["crashes the parser", "model cut short", "features cut short", "manifest cut short", "gone"],
)
@pytest.mark.slow
def test_scoring_falls_back_to_stable_if_latest_is_damaged(
    trained: Workplace, break_it: Callable[[Workplace], Any], rows: int
) -> None:
    break_it(trained)
    assert trained.registry.aliases() == {"latest": "model_v1.1", "stable": "model_v1.0"}
    for folder in trained.files("predictions/**/*"):
        folder.unlink()
    run = trained.score()
    assert run.code == 0, run.output
    assert run.outcome == "finished"
    [told] = [line.message for line in run.ours("WARN") if "is broken" in line.message]
    assert told.startswith("model_v1.1 is broken, and model_v1.0 replaces it: ")
    [part, *_] = trained.files("predictions/*/model_v1.0/*/part-00000.parquet")
    found = pd.read_parquet(part)
    assert set(found["model_version"]) == {"model_v1.0"}
    assert len(found) == rows
    assert not trained.files("predictions/*/model_v1.1/**/*")


@pytest.mark.slow
def test_requested_version_has_no_fallback(trained: Workplace) -> None:
    _publish(trained, GARBAGE)
    named, stable = trained.call(
        [{"flow": "scoring", "config": "pipeline.yaml", "version": name} for name in ("model_v1.1", "stable")]
    )
    assert named.code == 1
    assert named.outcome == "failed in inference"
    assert stable.code == 0, stable.output


@pytest.mark.slow
def test_scoring_fails_if_latest_and_stable_are_damaged(trained: Workplace) -> None:
    _publish(trained, GARBAGE)
    damage(trained.store, f"{trained.registry.folder}/model_v1.0/model.txt", "empty")
    # What it answered before is known, and would do.
    for known in ("results/inference", "data/scored"):
        shutil.rmtree(trained.var / known)
    run = trained.score()
    assert run.code == 1
    assert "model_v1.0" in run.ours("ERROR")[-1].message
    assert "Traceback" not in run.output


@pytest.mark.parametrize(
    ("asked", "latest", "stable", "chain"),
    [
        ("latest", "b", "a", ("b", "a")), ("latest", "a", "a", ("a",)), ("latest", None, None, ("latest",)),
        ("stable", "b", "a", ("stable",)), ("b", "b", "a", ("b",)),
    ],
)  # fmt: skip
def test_only_latest_alias_falls_back_to_stable(
    asked: str, latest: str | None, stable: str | None, chain: tuple[str, ...]
) -> None:
    assert fallback.order(asked, {"latest": latest, "stable": stable}) == chain
