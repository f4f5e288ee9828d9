"""Public tables train by a pipeline file of at most six lines about as well as with plain LightGBM."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import lightgbm
import numpy as np
import pandas as pd
import pytest

from ai_workflow.config import loader
from ai_workflow.features import transform
from ai_workflow.stages import data_loader
from ai_workflow.stages.feature_engineering import HOLDOUT, read_spec
from ai_workflow.storage.store import Store
from ai_workflow.training import protocol
from tests import public_tables
from tests.public_tables import PublicTable
from tests.stages.tables import Pipeline, rows

MAX_LINES = 6
STANDARD_ERRORS = 2


def own_predictions(table: PublicTable, path: Path, store: Store) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows held out, and their predictions by a model that passes the quality gate."""
    pipeline = path.with_suffix(".yaml")
    pipeline.write_text(table.pipeline(path.as_posix()))
    # One thread: with two, a busy machine takes many times as long, and the model is the same.
    settings = loader.load(pipeline, overrides={"trainer.params": {"num_threads": 1}}, env={}).settings
    run = Pipeline(store, settings)
    clean = run.clean(data_loader.load(store, settings.source, data_loader.inspect(settings.source)))
    featured = run.fit(clean)
    trained = run.train(featured)
    run.evaluate(clean, featured, trained)
    frame = rows(store, featured)
    assert len(frame) == len(table.frame)
    held_out = frame[HOLDOUT].to_numpy()
    spec = read_spec(store, featured)
    predict = protocol.load(trained["kind"], store.read(trained["model"]["path"]))
    output = predict(frame[transform.names(spec)].to_numpy("float32")[held_out])
    return held_out, np.array(spec["classes"])[output.argmax(axis=1)] if spec["classes"] else output


def plain_predictions(table: PublicTable, path: Path, held_out: np.ndarray) -> np.ndarray:
    """Return the predictions of LightGBM with its defaults, trained on the same rows as pandas reads them."""
    frame = pd.read_csv(path, sep=table.delimiter)
    x = frame.drop(columns=[table.target, *table.unused])
    texts = x.select_dtypes("str").columns
    x = x.astype(dict.fromkeys(texts, "category"))
    y = frame[table.target]
    kind = lightgbm.LGBMClassifier if table.task == "classification" else lightgbm.LGBMRegressor
    model = kind(n_estimators=200, n_jobs=1, verbose=-1)
    # LightGBM rejects names with brackets.
    x.columns = [f"column_{number}" for number in range(x.shape[1])]
    model.fit(x[~held_out], y[~held_out])
    return np.asarray(model.predict(x[held_out]))


def losses(table: PublicTable, truth: np.ndarray, predictions: np.ndarray) -> np.ndarray:
    """Return the absolute error of each row, or 1 for a wrong class."""
    if table.task == "regression":
        return np.abs(truth - predictions)
    return (truth.astype(str) != predictions.astype(str)).astype(float)


@pytest.mark.slow
@pytest.mark.parametrize("build", public_tables.TABLES, ids=lambda build: build.__name__)
def test_public_table_trains_about_as_well_as_plain_lightgbm(
    build: Callable[[], PublicTable], tmp_path: Path, store: Store
) -> None:
    table = build()
    path = tmp_path / "table.csv"
    table.frame.to_csv(path, sep=table.delimiter, index=False)

    held_out, own = own_predictions(table, path, store)
    plain = plain_predictions(table, path, held_out)

    truth = table.frame[table.target].to_numpy()[held_out]
    worse_by = losses(table, truth, own) - losses(table, truth, plain)
    assert worse_by.mean() <= STANDARD_ERRORS * worse_by.std() / np.sqrt(len(truth))


@pytest.mark.parametrize("build", public_tables.TABLES, ids=lambda build: build.__name__)
def test_pipeline_file_has_at_most_six_lines(build: Callable[[], PublicTable]) -> None:
    assert len(build().pipeline("table.csv").splitlines()) <= MAX_LINES


def test_typed_tables_have_the_published_number_of_rows() -> None:
    typed = (public_tables.titanic, public_tables.berkeley_admissions, public_tables.eye_colors)

    assert [len(build().frame) for build in typed] == [2201, 4526, 592]
    assert public_tables.tooth_growth().frame["len"].mean().round(2) == 18.81
    assert public_tables.insect_sprays().frame["count"].mean() == 9.5
