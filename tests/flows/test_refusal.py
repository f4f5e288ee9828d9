"""A run that is refused before its first stage is found by name, tag, trace and artifact, and has its error once."""

from __future__ import annotations

import json

import httpx
import pytest
from prefect.logging.configuration import DEFAULT_LOGGING_SETTINGS_PATH

from ai_workflow.local.server import Server
from ai_workflow.telemetry import journal
from tests import prefect_retry
from tests.flows import sample_tables
from tests.flows.prefect_api import Api
from tests.flows.workspace import Run, Workplace

FORGED = "2026-01-01 00:00:00 [ERROR] fake: line"
PIPELINE = sample_tables.PIPELINE["pipeline"]


@pytest.fixture(scope="module")
def refused(prefect_server: Server, tmp_path_factory: pytest.TempPathFactory) -> list[Run]:
    """Runs with an unknown override, an unknown version, a wrong traceparent, a file with errors, and of upkeep."""
    place = Workplace(tmp_path_factory.mktemp("refused"))
    sample_tables.write(place.folder / "rows-1.csv", sample_tables.rows(20))
    place.configure()
    place.configure("wrong.yaml", trainer={"stepz": 1, "kind": "forest"})
    config = {"config": "pipeline.yaml"}
    return place.call(
        [
            {"flow": "training", **config, "overrides": {"trainer.stepz": 4}},
            {"flow": "scoring", **config, "version": f"model_v7.7\n{FORGED}"},
            {"flow": "training", **config, "traceparent": "00-1-2-3"},
            {"flow": "evaluation", "config": "wrong.yaml", "environment": "development"},
            {"flow": "promotion", **config, "overrides": {"promotion.ours": 4}},
        ],
        # Prefect as it is without the logging of this project.
        PREFECT_LOGGING_SETTINGS_PATH=str(DEFAULT_LOGGING_SETTINGS_PATH),
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "flow", "pipeline", "why"),
    [
        (0, "training", PIPELINE, "trainer.stepz"),
        (1, "scoring", PIPELINE, "model version 'model_v7.7"),
        (2, "training", PIPELINE, "00-1-2-3"),
        (3, "evaluation", None, "trainer.stepz"),
    ],
)
def test_rejected_run_has_name_tags_journal_and_artifact(
    number: int, flow: str, pipeline: str | None, why: str, refused: list[Run], prefect_server: Server
) -> None:
    run = refused[number]
    assert run.code == 1
    assert why in run.events[-1].message
    assert journal.outcome(run.events).startswith("failed: ")
    assert run.output.count(why) == 1, run.output
    assert "Still processing" not in run.output
    assert all(line.trace for line in run.lines if line.logger.startswith("ai_pipeline"))

    found = prefect_retry.client(prefect_server.api_url).get(f"/flow_runs/{run.events[0].flow_run_id}").json()
    assert found["name"] == " ".join(filter(None, (flow, pipeline, run.trace_id[:8])))
    kind = "upkeep" if flow == "evaluation" else "work"
    tags = {"environment:development", f"kind:{kind}", *([f"pipeline:{pipeline}"] if pipeline else [])}
    assert set(found["tags"]) == tags
    [table] = Api(prefect_server).artifacts(run.events[0].flow_run_id).values()
    [row] = json.loads(table["data"])
    assert (row["stage"], row["status"]) == ("run", "ERROR")
    assert why in row["message"]


@pytest.mark.slow
def test_upkeep_run_has_name_and_tags(refused: list[Run], prefect_server: Server) -> None:
    api: httpx.Client = prefect_retry.client(prefect_server.api_url)
    runs = api.post("/flow_runs/filter", json={"flows": {"name": {"any_": ["promotion"]}}}).json()
    [run] = [one for one in runs if "promotion.ours" in str(one["state"]["message"])]
    assert run["name"].startswith(f"promotion {PIPELINE} ")
    assert {f"pipeline:{PIPELINE}", "kind:upkeep"} <= set(run["tags"])
    assert refused[4].output.count("promotion.ours") == 1


@pytest.mark.slow
def test_each_config_problem_has_separate_line(refused: list[Run]) -> None:
    lines = [line for line in refused[3].output.splitlines() if "trainer." in line]
    assert len(lines) == 2
    assert all(line.startswith("  ") for line in lines)
    assert len(refused[3].ours("ERROR")) == 1


@pytest.mark.slow
def test_newline_in_parameter_cannot_forge_log_line(refused: list[Run]) -> None:
    lines = refused[1].output.splitlines()
    assert not [line for line in lines if line.startswith(FORGED)]
    assert any(f"\\n{FORGED}" in line for line in lines)
    assert FORGED not in "".join(journal.render(refused[1].events).splitlines()[1:])
