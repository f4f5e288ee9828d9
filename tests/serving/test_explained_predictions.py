"""`/predict?explain=1`: the same predictions, with contributions that add up, whatever happens to the contributions."""

from __future__ import annotations

import asyncio
import math
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightgbm
import numpy as np
import pytest

from ai_workflow.datasets import partitions
from ai_workflow.datasets.partitions import Dataset
from ai_workflow.features import contribution_columns, transform, worker_rows
from ai_workflow.features.row_encoder import InvalidRowsError
from ai_workflow.serving import explained_predictions
from ai_workflow.serving.attempt_metrics import AttemptMetrics, FailureReason
from ai_workflow.serving.exemplars import Exemplars
from ai_workflow.serving.routing import loaded_model
from ai_workflow.serving.routing.served_model import ServedModel
from ai_workflow.storage.store import Store
from tests.serving import published_models
from tests.serving.running_service import Running, dumps
from tests.serving.test_served_model import answer, data, run, started
from tests.stages.tables import Pipeline, parted, people, settings
from tests.stages.tables import rows as stage_rows

LATEST, STABLE = "model_v1.1", "model_v1.0"
COLUMNS = ["price", "weight", "pieces", "colour", "gift", "ordered"]
SHARED_COLUMNS = {"weight": [1, 2], "ordered": [6, 7], "price": [0], "pieces": [3], "colour": [4], "gift": [5]}


def explained(running: Running, *rows: dict[str, Any], path: str = "/predict", seconds: float = 60) -> dict[str, Any]:
    began = time.monotonic()
    response = running.http.post(f"{path}?explain=1", json={"rows": list(rows)})
    assert response.status_code == 200, response.text
    assert time.monotonic() - began < seconds
    body: dict[str, Any] = response.json()
    return body


def known(seed: int, rows: list[dict[str, Any]]) -> np.ndarray:
    """Return the contributions to the log-odds of the second class, by LightGBM's own package."""
    return np.asarray(published_models.booster(seed).predict(published_models.matrix(rows), pred_contrib=True))


def assert_contributions(predictions: list[dict[str, Any]], seed: int, rows: list[dict[str, Any]]) -> None:
    for prediction, values in zip(predictions, known(seed, rows), strict=True):
        sign = 1 if prediction["prediction"] == "yes" else -1
        assert list(prediction["contributions"]) == COLUMNS
        for column, value in prediction["contributions"].items():
            assert value == sign * math.fsum(values[SHARED_COLUMNS[column]])
        assert prediction["base_value"] == sign * values[-1]
        odds = math.log(prediction["score"] / (1 - prediction["score"]))
        assert prediction["base_value"] + sum(prediction["contributions"].values()) == pytest.approx(odds, abs=1e-9)


@pytest.mark.integration
@pytest.mark.parametrize("count", [1, 40, 100])
def test_explained_predictions_have_the_contributions_of_lightgbm_by_column(shared: Running, count: int) -> None:
    rows = published_models.rows(count, 5)
    body = explained(shared, *rows, path=f"/predict/{published_models.PIPELINE}")
    assert (body["model_version"], body["fallback"], body["explanation_error"]) == (LATEST, False, None)
    assert_contributions(body["predictions"], 1, rows)
    plain = shared.predict(*rows)
    for key in ("prediction", "score"):
        assert [each[key] for each in body["predictions"]] == [each[key] for each in plain["predictions"]]


@pytest.mark.integration
def test_response_without_explain_has_no_new_fields(shared: Running) -> None:
    for query in ("", "?explain=0", "?other=1"):
        body = shared.http.post(f"/predict{query}", content=dumps([published_models.ROW])).json()
        assert set(body) == {"predictions", "model_version", "fallback", "fallback_reason", "trace_id"}
        assert set(body["predictions"][0]) == {"prediction", "score", "prediction_id"}


@pytest.mark.integration
@pytest.mark.parametrize(
    ("path", "count", "said"),
    [
        ("/predict?explain=yes", 1, "the query parameter explain has the value 'yes'. Send explain=1"),
        ("/predict?explain=", 1, "the query parameter explain has the value ''. Send explain=1"),
        ("/predict?explain=1&explain=1", 1, "has the value '1,1'"),
        ("/predict?explain=1", 101, "101 rows are more than 100, the limit of a request with explain=1"),
        ("/v2/models/shop/infer?explain=1", 1, "explain=1 is a parameter of POST /predict only"),
    ],
)
def test_wrong_use_of_explain_is_a_client_error(shared: Running, path: str, count: int, said: str) -> None:
    response = shared.http.post(path, content=dumps(published_models.rows(count)))
    assert response.status_code == 400
    assert said in response.json()["error"]


@pytest.mark.unit
def test_version_without_contributions_refuses_explain() -> None:
    first: Any = SimpleNamespace(
        name=LATEST, explanations=SimpleNamespace(is_supported=False), loaded=SimpleNamespace(kind="torch_mlp")
    )
    with pytest.raises(InvalidRowsError, match="model family torch_mlp does not compute them"):
        explained_predictions.check(1, first)
    explained_predictions.check(1, None)


@pytest.mark.integration
def test_contributions_are_those_of_the_version_that_answers(root: Path, faults: Path, tmp_path: Path) -> None:
    row = published_models.ROW
    with Running(published_models.pipeline(tmp_path), root, faults) as running:
        (faults / LATEST).write_text("hang")
        body = explained(running, row, seconds=5)
        assert (body["model_version"], body["fallback"], body["explanation_error"]) == (STABLE, True, None)
        assert_contributions(body["predictions"], 0, [row])
        (faults / STABLE).write_text("raise")
        body = explained(running, row, seconds=5)
        [prediction] = body["predictions"]
        assert (body["model_version"], prediction["prediction"]) == ("default", "unknown")
        assert (prediction["contributions"], prediction["base_value"]) == (None, None)
        assert body["explanation_error"] == "the default response has no contributions"


@pytest.mark.integration
def test_fault_of_contributions_costs_no_prediction(root: Path, faults: Path, tmp_path: Path) -> None:
    rows = published_models.rows(3, 7)
    with Running(published_models.pipeline(tmp_path), root, faults) as running:
        plain = [each["prediction"] for each in running.predict(*rows)["predictions"]]

        def assert_unexplained(version: str, reason: str) -> None:
            body = explained(running, *rows, seconds=5)
            assert (body["model_version"], body["explanation_error"]) == (version, f"{version}: {reason}")
            assert [each["contributions"] for each in body["predictions"]] == [None] * 3
            assert version == STABLE or [each["prediction"] for each in body["predictions"]] == plain

        for fault, reason in {"raise": "error", "NaN": "bad_output", "too few": "bad_output"}.items():
            (faults / f"{LATEST} contributions").write_text(fault)
            assert_unexplained(LATEST, reason)
        (faults / f"{LATEST} contributions").write_text("hang")
        assert_unexplained(LATEST, "timeout")
        assert running.predict(*rows)["model_version"] in (LATEST, STABLE)
        running.until(lambda: running.predict(*rows)["model_version"] == LATEST)
        assert_unexplained(LATEST, "contributions are suspended after a fault")
        (faults / f"{STABLE} contributions").write_text("segfault")
        (faults / LATEST).write_text("raise")
        assert_unexplained(STABLE, "crashed")


@pytest.mark.integration
def test_contributions_are_computed_between_predictions_that_wait(root: Path) -> None:
    expected = [np.ravel(published_models.answers(1, published_models.rows(2, seed))).tolist() for seed in range(6)]
    contributions = [known(1, published_models.rows(1, seed))[0].tolist() for seed in range(3)]

    async def work() -> None:
        async with started(root) as model:
            assert model.explanations.is_supported
            deadline = asyncio.get_running_loop().time() + 5
            futures = [answer(model, 2, seed) for seed in range(3)]
            rows = [asyncio.create_task(model.explain(data(1, seed), deadline)) for seed in range(3)]
            futures += [answer(model, 2, seed) for seed in range(3, 6)]
            found = await asyncio.gather(*futures)
            assert [list(each) for each in found] == [pytest.approx(each, rel=1e-12) for each in expected]
            assert [list(await row)[9:] for row in rows] == contributions
            late = asyncio.get_running_loop().time() - 1
            assert await model.explain(data(1), late) is FailureReason.TIMEOUT
            assert model.is_available

    run(work)


@pytest.mark.integration
def test_derived_feature_has_its_own_contribution(tmp_path: Path) -> None:
    store = Store(tmp_path)
    derive = [{"kind": "ratio", "column": "income", "divisor": "age"}]
    pipeline = Pipeline(store, settings(features={"derive": derive}))
    made = pipeline.publish(*parted(people().drop(columns="spent"), 2))
    names = transform.names(made.spec)
    x = stage_rows(store, made.featured)[names].to_numpy("float32")[:1]
    booster = lightgbm.Booster(model_str=made.file("model.txt").decode())
    [expected] = np.asarray(booster.predict(x, pred_contrib=True)).tolist()
    _, frame = next(partitions.frames(store, Dataset.load(store, made.clean)))
    row = worker_rows.to_worker(frame.iloc[:1], made.spec)

    async def work() -> None:
        loaded = loaded_model.load(pipeline.registry, "latest")
        attempts = AttemptMetrics(pipeline.settings.pipeline, loaded.name, Exemplars(pipeline.settings.pipeline))
        model = ServedModel(loaded, attempts, 10, 5, 60)
        try:
            await model.start()
            values = await model.explain(row.tobytes(), asyncio.get_running_loop().time() + 30)
        finally:
            model.close()
        assert not isinstance(values, FailureReason)
        assert list(values)[len(expected) :] == expected
        columns = contribution_columns.features_of(loaded.encoder.spec)
        assert columns["income_per_age"] == [names.index("income_per_age")]
        assert names.index("income_per_age") not in columns["income"] + columns["age"]

    run(work)
