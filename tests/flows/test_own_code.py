"""A team's own trainer from its pipeline folder: trained, scored in a batch, and served with equal predictions."""

from __future__ import annotations

import shutil
from pathlib import Path

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
    )
    return place


def test_own_trainer_is_trained_scored_and_served(team: Workplace) -> None:
    trained = team.train(PIPELINE)
    assert trained.code == 0, trained.output
    assert team.registry.get("latest").manifest["kind"] == KIND
    scored = team.score(PIPELINE)
    assert scored.code == 0, scored.output

    with Running(team.folder / PIPELINE, team.var) as service:
        rows = [dict(zip(sample_tables.HEADER[1:4], row[1:4], strict=True)) for row in sample_tables.rows(seed=1)]
        answers = [service.predict(row)["predictions"][0] for row in rows]
    [batch] = [pd.read_parquet(path) for path in team.files("predictions/*/*/*/part-*.parquet") if _is_batch(path)]
    assert [answer["score"] for answer in answers] == batch["score"].tolist()


def test_comment_in_own_trainer_reruns_nothing_and_code_reruns_training(team: Workplace) -> None:
    assert team.train(PIPELINE).code == 0
    file = team.folder / "pipelines/credit/models.py"
    text = file.read_text()
    file.write_text(f"# Reviewed.\n{text}")
    assert set(team.train(PIPELINE).stages.values()) == {"CACHED"}
    file.write_text(text.replace("1e-12", "1e-11"))
    stages = team.train(PIPELINE).stages
    assert [stages[name] for name in ("data_loader", "preprocessor", "feature_engineering")] == ["CACHED"] * 3
    assert stages["trainer"] == "SUCCESS"


def test_failure_of_own_trainer_ends_the_run_before_the_first_stage(team: Workplace) -> None:
    (team.folder / "pipelines/credit/models.py").write_text("class Trainer: ...\n")
    run = team.train(PIPELINE)
    assert run.code == 1
    assert "is no trainer: it has no method start" in run.output
    assert run.stages == {}


def _is_batch(path: Path) -> bool:
    return not path.parent.name.startswith("service-")
