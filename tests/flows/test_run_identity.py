"""What people find a run by in the Prefect UI: its name, its tags, the names and the edges of its stages."""

from __future__ import annotations

import httpx
import pytest

from ai_workflow.local.server import Server
from tests import prefect_retry
from tests.flows import sample_tables
from tests.flows.workspace import SCORING, TRAINING, Run, Workplace

# Which stages each stage takes results of.
EDGES = {
    "training": {
        ("data_loader", "preprocessor"), ("preprocessor", "feature_engineering"), ("feature_engineering", "trainer"),
        ("preprocessor", "evaluator"), ("feature_engineering", "evaluator"), ("trainer", "evaluator"),
        ("feature_engineering", "registry"), ("trainer", "registry"), ("evaluator", "registry"),
    },
    "scoring": {
        ("data_loader", "preprocessor"), ("preprocessor", "feature_engineering"), ("feature_engineering", "inference"),
        ("inference", "result_store"),
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def api(prefect_server: Server) -> httpx.Client:
    return prefect_retry.client(prefect_server.api_url)


@pytest.mark.parametrize(("number", "flow", "stages"), [(0, "training", TRAINING), (1, "scoring", SCORING)])
def test_run_has_name_tags_and_stage_graph(
    number: int, flow: str, stages: tuple[str, ...], trained_once: Workplace, api: httpx.Client
) -> None:
    run = trained_once.runs[number]
    run_id = run.events[0].flow_run_id

    found = api.get(f"/flow_runs/{run_id}").json()
    assert found["name"] == f"{flow} {sample_tables.PIPELINE['pipeline']} {run.trace_id[:8]}"
    assert set(found["tags"]) == {
        f"pipeline:{sample_tables.PIPELINE['pipeline']}", "environment:development", "kind:work"
    }  # fmt: skip
    tasks = api.post("/task_runs/filter", json={"flow_runs": {"id": {"any_": [run_id]}}}).json()
    names = {one["id"]: one["name"] for one in tasks}
    assert sorted(names.values()) == sorted(stages)
    assert _edges(api, run_id, names) == EDGES[flow]


@pytest.mark.slow
def test_cached_run_has_identical_stage_graph(trained: Workplace, api: httpx.Client) -> None:
    again: Run = trained.train()
    run_id = again.events[0].flow_run_id
    tasks = api.post("/task_runs/filter", json={"flow_runs": {"id": {"any_": [run_id]}}}).json()

    assert again.stages == dict.fromkeys(TRAINING, "CACHED")
    assert _edges(api, run_id, {one["id"]: one["name"] for one in tasks}) == EDGES["training"]


def _edges(api: httpx.Client, run_id: str | None, names: dict[str, str]) -> set[tuple[str, str]]:
    nodes = dict(api.get(f"/flow_runs/{run_id}/graph-v2").json()["nodes"])
    return {(names[parent["id"]], names[child]) for child, node in nodes.items() for parent in node["parents"]}
