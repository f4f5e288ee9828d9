"""What the drift stage says of a published version: of its columns where values are kept, of its answers always."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from ai_workflow.stages import drift_detector
from ai_workflow.stages.label_intake import LabelJoinerOptions
from ai_workflow.stages.label_joiner import join
from ai_workflow.storage.store import Store
from tests import labeled_predictions
from tests.labeled_predictions import NOW, predict
from tests.stages.tables import Made, people

pytestmark = pytest.mark.integration

VERSION = "model_v1.0"


@pytest.fixture
def place(bought: Made, store: Store, monkeypatch: pytest.MonkeyPatch) -> Made:
    """The published classifier, in a store of its own."""
    source, folder = bought.pipeline.store, bought.version.folder
    monkeypatch.setattr(labeled_predictions, "PIPELINE", "people")
    for path in sorted(Path(source.local(bought.pipeline.settings.models)).rglob("*")):
        if path.is_file() and path.name != ".lock":
            store.write(str(path.relative_to(source.local(""))), path.read_bytes())
    assert store.exists(folder)
    return bought


def found(store: Store, made: Made, **evaluation: Any) -> dict[str, Any]:
    settings = made.pipeline.settings
    settings = settings.model_copy(update={"evaluation": settings.evaluation.model_copy(update=evaluation)})
    joined = join(store, LabelJoinerOptions.of(settings), NOW)
    return drift_detector.detect(store, joined, drift_detector.DriftDetectorOptions.of(settings))


def ask(store: Store, rows: pd.DataFrame, answers: list[str], **more: Any) -> None:
    values = [json.dumps(row, default=str) for row in rows.to_dict(orient="records")]
    number = len(store.names(f"predictions/people/{VERSION}"))
    keyed = {f"s{number}-{row}": answer for row, answer in enumerate(answers)}
    predict(store, keyed, VERSION, values=values, **more)


def answers(rows: pd.DataFrame) -> list[str]:
    return rows["bought"].tolist()


def test_similar_rows_show_no_drift(store: Store, place: Made) -> None:
    rows = people(600, seed=5)
    ask(store, rows, answers(rows))
    result = found(store, place)
    assert result["message"] == "no drift"
    drift = result["drift"][VERSION]
    assert drift["rows"] == 600
    assert set(drift["features"]) == {"age", "city", "income", "member"}, "dates move on by themselves"
    assert max(one["psi"] for one in drift["features"].values()) < drift["threshold"]
    assert drift["features"]["age"]["ks"] < drift["ks_threshold"]
    assert drift["features"]["city"]["ks"] is None
    assert drift["prediction"]["psi"] < drift["threshold"]


def test_shifted_columns_are_named(store: Store, place: Made) -> None:
    rows = people(600, seed=5)
    ask(store, rows.assign(age=rows["age"] + 30, city="Emden"), answers(rows))
    result = found(store, place)
    drift = result["drift"][VERSION]
    assert {name for name, one in drift["features"].items() if one["psi"] > drift["threshold"]} == {"age", "city"}
    assert result["message"].startswith(f"drift in {VERSION}: city (PSI ")


def test_drift_uses_latest_predictions(store: Store, place: Made) -> None:
    rows = people(600, seed=5)
    ask(store, rows.assign(city="Emden"), ["yes"] * 600, at=NOW - 7200)
    ask(store, rows, answers(rows), at=NOW - 3600)
    assert found(store, place, drift_rows=600)["message"] == "no drift"


def test_prediction_drift_is_computed_without_feature_values(store: Store, place: Made) -> None:
    predict(store, {str(number): "yes" for number in range(500)}, VERSION)
    result = found(store, place)
    drift = result["drift"][VERSION]
    assert (drift["features"], drift["rows"]) == ({}, 500)
    assert drift["prediction"]["psi"] > drift["threshold"]
    assert result["message"].startswith(f"drift in {VERSION}: (prediction)")


def test_version_without_predictions_has_no_drift(store: Store, place: Made) -> None:
    nothing = {"features": {}, "prediction": {"psi": None}, "threshold": None, "ks_threshold": None, "rows": 0}
    assert found(store, place)["drift"] == {VERSION: nothing}


def test_regression_predictions_are_compared_as_numbers(spent: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    card = json.loads(spent.file("card.json"))
    held = [answer for _, answer in card["sample"]]
    same = drift_detector._prediction_drift(pd.Series([repr(value) for value in held]), card)
    other = drift_detector._prediction_drift(pd.Series([repr(value + 40) for value in held]), card)
    assert same is not None
    assert other is not None
    assert same.psi < same.threshold(1, 0.05)
    assert other.psi > other.threshold(1, 0.05)
