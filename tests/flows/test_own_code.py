"""A team's own code from its pipeline folder: trained, scored in a batch, and served with equal predictions."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from ai_workflow.local.server import Server
from tests.flows import sample_tables
from tests.flows.workspace import Workplace
from tests.own_code import SGD
from tests.serving.running_service import Running

pytestmark = pytest.mark.slow
PIPELINE = "pipelines/credit/pipeline.yaml"
KIND = "credit.models:Trainer"
FEATURES = """\
import os, pathlib, signal, time
import numpy as np
import pandas as pd

kept = []

def misbehave(fault):
    if fault == "hang":
        time.sleep(60)
    if fault == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if fault == "leak":
        kept.append(np.ones(4_000_000))
    if fault == "exhausted memory":
        raise MemoryError
    if fault == "nonsense":
        return "nonsense"

def age_decade(rows):
    fault = pathlib.Path(os.environ.get("TEAM_FAULT", "") or "none")
    if fault.exists() and (text := misbehave(fault.read_text())):
        return text
    print("noise on stdout")
    return np.floor(rows.age / 10)

def kind_and_month(rows):
    return pd.DataFrame({"kind_month": rows.kind + rows.seen.dt.month.astype("Int64").astype("string")})

class KindAge:
    def fit(self, parts):
        return pd.concat(parts).groupby("kind").age.mean().to_dict()

    def transform(self, rows, state):
        return rows.age - rows.kind.map(state)
"""
# Any free port.
SERVICE = {"port": 0}
FORMULAS = [
    {"kind": "ratio", "column": "age", "divisor": "age", "name": "one"},
    {"kind": "log1p", "column": "age"},
    {"kind": "bins", "column": "age", "count": 5},
]
DERIVE = ["features:age_decade", "credit.features:kind_and_month", *FORMULAS, "credit.features:KindAge"]
DERIVED = ["age_decade", "kind_month", "one", "log1p_age", "age_bin", "KindAge"]


@pytest.fixture
def team(prefect_server: Server, tmp_path: Path) -> Workplace:
    """A place with the trainer of docs/examples, unedited, beside the pipeline file."""
    place = Workplace(tmp_path)
    sample_tables.write(place.folder / "rows-1.csv", sample_tables.rows(seed=1))
    folder = place.folder / "pipelines/credit"
    folder.mkdir(parents=True)
    shutil.copy(SGD, folder / "models.py")
    place.configure(
        PIPELINE,
        source={"kind": "csv", "path": str(place.folder / "rows-1.csv")},
        trainer={"kind": KIND, "steps": 60},
        evaluate={},
        service=SERVICE,
    )
    return place


def derive(team: Workplace) -> Path:
    """Add feature functions to the pipeline, and return their file."""
    file = team.folder / "pipelines/credit/features.py"
    file.write_text(FEATURES)
    team.configure(
        PIPELINE,
        source={"kind": "csv", "path": str(team.folder / "rows-1.csv")},
        features={"derive": DERIVE},
        service=SERVICE,
        inference={"deadline_ms": 1000, "default_response": {"prediction": "0", "score": 0.5}},
    )
    return file


@pytest.mark.soak
def test_own_trainer_is_trained_scored_and_served_and_trained_again_if_its_code_changes(team: Workplace) -> None:
    file = team.folder / "pipelines/credit/models.py"
    text = file.read_text()
    file.write_text("class Trainer: ...\n")
    refused = team.train(PIPELINE)
    assert (refused.code, refused.stages) == (1, {})
    assert "is no trainer: it has no method start" in refused.output

    file.write_text(text)
    for run in (team.train(PIPELINE), team.score(PIPELINE)):
        assert run.code == 0, run.output
    assert team.registry.get("latest").manifest["kind"] == KIND
    with Running(team.folder / PIPELINE, team.var) as service:
        answers = [service.predict(row)["predictions"][0] for row in _rows()]
    assert [answer["score"] for answer in answers] == _batch(team)["score"].tolist()

    file.write_text(f"# Reviewed.\n{text}")
    assert set(team.train(PIPELINE).stages.values()) == {"CACHED"}
    file.write_text(text.replace("1e-12", "1e-11"))
    stages = team.train(PIPELINE).stages
    assert [stages[name] for name in ("data_loader", "preprocessor", "feature_engineering")] == ["CACHED"] * 3
    assert stages["trainer"] == "SUCCESS"


@pytest.mark.soak
def test_feature_functions_give_equal_scores_in_batch_and_service_and_fall_back_if_they_fail(team: Workplace) -> None:
    derive(team)
    for run in (team.train(PIPELINE), team.score(PIPELINE)):
        assert run.code == 0, run.output
    spec = json.loads(team.registry.read(team.registry.get("latest"), "features.json"))
    paths = [function["path"] for function in spec["derived"] if "formula" not in function]
    assert paths == [item for item in DERIVE if isinstance(item, str)]
    assert [feature["name"] for feature in spec["features"] if feature.get("derived")] == DERIVED
    fault = team.folder / "fault"

    with Running(team.folder / PIPELINE, team.var, TEAM_FAULT=str(fault)) as service:
        answers = [service.predict(row)["predictions"][0] for row in _rows()]
        together = service.predict(*_rows())["predictions"]
        matrix = {"name": "features", "datatype": "FP32", "shape": [1, 3], "data": [1, 2, 3]}
        refused = service.http.post("/v2/models/small_credit/infer", json={"inputs": [matrix]})
        assert (refused.status_code, "Send the columns" in refused.text) == (400, True)
        for kind in ("leak", "nonsense", "exhausted memory", "crash", "hang"):
            fault.write_text(kind)
            for _ in range(5):
                began = time.monotonic()
                assert service.predict(_rows()[0])["fallback"] or kind == "leak"
                assert time.monotonic() - began < 10
        fault.unlink()
        service.until(lambda: not service.predict(_rows()[0])["fallback"])
    scores = _batch(team)["score"].tolist()
    assert [answer["score"] for answer in answers] == scores
    assert [answer["score"] for answer in together] == scores


def test_service_loads_a_version_only_with_the_code_of_its_functions(team: Workplace) -> None:
    file = derive(team)
    first = team.train(PIPELINE)
    assert first.code == 0, first.output
    file.write_text(f"# Reviewed.\n{FEATURES}")
    assert set(team.train(PIPELINE).stages.values()) == {"CACHED"}
    with Running(team.folder / PIPELINE, team.var) as service:
        assert service.predict(_rows()[0])["model_version"] == "model_v1.0"
        file.write_text(FEATURES.replace("age / 10)", "age / 10) + 1"))
        stages = team.train(PIPELINE).stages
        assert [stages[name] for name in ("data_loader", "preprocessor")] == ["CACHED"] * 2
        assert stages["feature_engineering"] == "SUCCESS"
        service.until(lambda: service.predict(_rows()[0])["model_version"] == "model_v1.1")
        answers = [service.predict(row)["predictions"][0]["score"] for row in _rows()]
    assert team.score(PIPELINE).code == 0
    assert answers == _batch(team)["score"].tolist()

    file.write_text(FEATURES.replace("age / 10", "age / 20"))
    scored = team.score(PIPELINE)
    assert scored.code == 1
    assert "is not the code" in scored.output
    with Running(team.folder / PIPELINE, team.var) as service:
        assert service.predict(_rows()[0])["fallback"]
        assert "is not the code" in "".join(service.log)


@pytest.mark.soak
def test_code_of_own_metric_reruns_the_evaluation_only(team: Workplace) -> None:
    file = team.folder / "pipelines/credit/metrics.py"
    text = "def cost(target, prediction):\n    return float((target != prediction).sum())\n\n"
    text += "cost.greater_is_better = False\n"
    file.write_text(text)
    metric = "credit.metrics:cost"
    team.configure(
        PIPELINE,
        source={"kind": "csv", "path": str(team.folder / "rows-1.csv")},
        trainer={"steps": 60},
        evaluate={"metric": metric, "metrics": ["sklearn.metrics:matthews_corrcoef"]},
    )
    run = team.train(PIPELINE)
    assert run.code == 0, run.output
    assert set(team.registry.get("latest").manifest["scores"]) > {metric, "sklearn.metrics:matthews_corrcoef"}
    file.write_text(f"# Reviewed.\n{text}")
    assert set(team.train(PIPELINE).stages.values()) == {"CACHED"}
    file.write_text(text.replace("sum())", "sum()) + 1"))
    stages = team.train(PIPELINE).stages
    assert [name for name, status in stages.items() if status == "SUCCESS"] == ["evaluator", "registry"]
    file.write_text("def cost(target, prediction): return 1.0\n")
    refused = team.train(PIPELINE)
    assert (refused.code, refused.stages) == (1, {})
    assert "metrics.py:1: evaluate.metric and trainer.search.metric need its attribute" in refused.output


SOURCE = """\
import pathlib
import pandas as pd

class Table:
    def __init__(self, folder):
        self.folder = pathlib.Path(folder)

    def version(self):
        return (self.folder / "rows.txt").read_text()

    def read(self):
        assert not (self.folder / "down").exists(), "the warehouse is down"
        yield from pd.read_csv(self.folder / "rows-1.csv", chunksize=40)
"""


@pytest.mark.soak
def test_own_source_is_read_once_for_each_version_and_feeds_training_and_scoring(team: Workplace) -> None:
    file = team.folder / "pipelines/credit/sources.py"
    file.write_text(SOURCE)
    version = team.folder / "rows.txt"
    version.write_text("1")
    source = {"kind": "credit.sources:Table", "params": {"folder": str(team.folder)}}
    team.configure(PIPELINE, source=source, trainer={"steps": 20})
    for run in (team.train(PIPELINE), team.score(PIPELINE)):
        assert run.code == 0, run.output
    (team.folder / "down").touch()
    file.write_text(f"# Reviewed.\n{SOURCE}")
    assert set(team.train(PIPELINE).stages.values()) == {"CACHED"}
    version.write_text("2")
    failed = team.train(PIPELINE)
    assert failed.code == 1
    assert "read raised AssertionError: the warehouse is down at " in failed.output
    (team.folder / "down").unlink()
    stages = team.train(PIPELINE).stages
    assert [name for name, status in stages.items() if status == "SUCCESS"] == ["data_loader"]
    file.write_text("class Table: ...\n")
    refused = team.train(PIPELINE)
    assert (refused.code, refused.stages) == (1, {})
    assert "is no source: it has no method version" in refused.output


STAGES = """\
import pandas as pd

class JoinSizes:
    def __init__(self, sizes):
        self.sizes = pd.read_csv(sizes)

    def __call__(self, rows):
        joined = rows.merge(self.sizes, on="kind", how="left")
        return joined.assign(age=pd.to_numeric(joined.age))[joined.row_id != "r1-0"]
"""


@pytest.mark.soak
def test_added_stage_feeds_training_and_scoring_and_the_service_gets_its_columns(team: Workplace) -> None:
    (team.folder / "pipelines/credit/cleaning.py").write_text(STAGES)
    (team.folder / "pipelines/credit/sizes.csv").write_text("kind,size\nk0,0.1\nk1,7\n")
    stage = {"kind": "credit.cleaning:JoinSizes", "files": {"sizes": "sizes.csv"}}
    source = {"kind": "csv", "path": str(team.folder / "rows-1.csv")}
    team.configure(PIPELINE, source=source, stages={"after": {"data_loader": [stage]}}, service=SERVICE)
    trained = team.train(PIPELINE)
    assert trained.code == 0, trained.output
    assert list(trained.stages)[:3] == ["data_loader", "join_sizes", "preprocessor"]
    assert "ai_pipeline.join_sizes: 149 records kept, 1 dropped" in trained.output
    scored = team.score(PIPELINE)
    assert scored.code == 0, scored.output

    sizes: dict[str, Any] = {"k0": 0.1, "k1": 7}
    with Running(team.folder / PIPELINE, team.var) as service:
        rows = [{**row, "size": sizes.get(row["kind"])} for row in _rows()[1:]]
        answers = [service.predict(row)["predictions"][0]["score"] for row in rows]
    assert answers == _batch(team)["score"].tolist()


def _rows() -> list[dict[str, Any]]:
    return [dict(zip(sample_tables.HEADER[1:4], row[1:4], strict=True)) for row in sample_tables.rows(seed=1)]


def _batch(team: Workplace) -> pd.DataFrame:
    """Return the predictions of the scoring flow."""
    paths = team.files("predictions/*/*/*/part-*.parquet")
    [batch] = [pd.read_parquet(path) for path in paths if not path.parent.name.startswith("service-")]
    return batch
