"""Three pipelines in two environments on one server: each is deployed, reacts and recovers beside the other."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest

from ai_workflow.registry.registry import Registry
from ai_workflow.storage.store import Store
from tests import prefect_retry, services
from tests.deploy import durable_server, every_deployment
from tests.deploy.deploying_project import PIPELINE, Place
from tests.deploy.every_deployment import Deployed
from tests.flows.prefect_worker import Worker
from tests.flows.workspace import ROOT, Workplace
from tests.patience import PATIENCE

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]
NAMES = ("credit", "sales", "stock")


class Project(Place):
    """A project with a configuration of its own."""

    def deploy(self, environment: str, *arguments: str, **variables: str) -> list[str]:
        """Deploy an environment, and return the changes."""
        given = {"AIW_ROOT": str(self.folder), **variables}
        return self.bootstrap("--environment", environment, *arguments, **given)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """A project with three pipelines and the environments production and staging, and a server on PostgreSQL."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "flows").symlink_to(ROOT / "flows")
    shutil.copytree(ROOT / "config", folder / "config")
    (folder / "config" / "staging.yaml").write_text("deploy: {variables: {site: staging}}\n")
    shutil.copy(ROOT / "prefect.yaml", folder)
    for name in NAMES:
        path = folder / "pipelines" / name / "pipeline.yaml"
        path.parent.mkdir(parents=True)
        path.write_text(PIPELINE.format(name))
    with (
        services.postgres() as postgres,
        durable_server.running(tmp_path_factory.mktemp("server"), postgres) as server,
        prefect_retry.client(server.api_url) as api,
    ):
        project = Project(folder, api)
        done = project.python("ai_workflow", "pipeline", "sync", AIW_ROOT=str(folder))
        assert done.returncode == 0, done.stderr
        yield project


@pytest.fixture(scope="module")
def deployed(place: Project) -> dict[str, list[str]]:
    """The changes of the first deployment of each environment, with schedules paused."""
    changes = {environment: place.deploy(environment) for environment in ("production", "staging")}
    Deployed(place.api).pause_schedules()
    return changes


def test_second_environment_has_its_own_objects(place: Project, deployed: dict[str, list[str]]) -> None:
    assert {f"deployment training/{name}: made" for name in NAMES} <= set(deployed["production"])
    expected = {f"deployment training/{name}-staging: made" for name in NAMES} | {
        "deployment recovery/recovery-staging: made",
        "work pool ai-workflow-staging: made, of type process",
        "block webhook/alert-relay-staging: made",
        "automation ai-workflow staging: run failed: made",
        "automation ai-workflow staging: slo breached: made",
        "automation ai-workflow: slo breached: changed, to events of its environment",
    }
    assert expected <= set(deployed["staging"])
    assert not [line for line in deployed["staging"] if line.startswith("deployment ") and "-staging" not in line]
    credit, labelled = place.deployment("credit"), place.deployment("credit-staging")
    assert credit["work_pool_name"] == "ai-workflow"
    assert credit["parameters"]["environment"] == "production"
    assert {"ai-workflow", "environment:production"} <= set(credit["tags"])
    assert labelled["work_pool_name"] == "ai-workflow-staging"
    assert labelled["parameters"]["environment"] == "staging"
    assert {"ai-workflow:staging", "environment:staging"} <= set(labelled["tags"])
    assert "ai-workflow" not in labelled["tags"]


def test_deploying_again_changes_nothing_and_prunes_nothing(place: Project, deployed: dict[str, list[str]]) -> None:
    for environment in ("production", "staging"):
        for arguments in ((), ("--prune",)):
            assert place.deploy(environment, *arguments) == ["nothing changed"]


def test_breach_of_one_environment_starts_its_training_only(place: Project, deployed: dict[str, list[str]]) -> None:
    worker = Worker.of(
        Workplace(place.folder), "-m", "prefect", "worker", "start", "--pool", "ai-workflow-staging",
        PREFECT_WORKER_QUERY_SECONDS="1", AIW_ROOT=str(place.folder),
    )  # fmt: skip
    resource = {
        "prefect.resource.id": "slo.sales",
        "ai-workflow.slo": "accuracy",
        "ai-workflow.pipeline": "sales",
        "ai-workflow.environment": "staging",
        "ai-workflow.project": "ai-workflow",
    }
    event = {"id": str(uuid4()), "occurred": datetime.now(UTC).isoformat(), "event": "ai-workflow.slo.breached"}
    try:
        place.api.post("/events", json=[event | {"resource": resource}]).raise_for_status()
        until = time.monotonic() + PATIENCE
        while not _ended(_runs(place).get("sales-staging", [])):
            assert time.monotonic() < until, worker.output()[-5000:]
            time.sleep(1)
    finally:
        worker.kill()
    runs = _runs(place)
    assert set(runs) == {"reaction-staging", "sales-staging"}
    [training] = runs["sales-staging"]
    assert training["state_type"] == "COMPLETED", worker.output()[-5000:]
    assert {"ai-workflow:staging", "environment:staging", "pipeline:sales"} <= set(training["tags"])
    store = Store(place.folder / "var")
    assert Registry(store, "models/staging/sales").aliases()["latest"] == "model_v1.0"
    assert not Registry(store, "models/production/sales").versions()


def test_removed_deployment_is_pruned_in_its_environment_only(place: Project, deployed: dict[str, list[str]]) -> None:
    (place.folder / "fewer.yaml").write_text(
        (place.folder / "prefect.yaml").read_text().replace("- name: drill", "- name: other-drill")
    )
    said = place.bootstrapped("fewer.yaml", "--environment", "staging", "--prune", AIW_ROOT=str(place.folder))
    assert set(said.out) == {"deployment drill/other-drill-staging: made", "deployment drill/drill-staging: removed"}
    assert place.deployment("drill")["parameters"]["environment"] == "production"
    assert place.deploy("production", "--prune") == ["nothing changed"]


def _runs(place: Project) -> dict[str, list[dict[str, Any]]]:
    """Return the runs by deployment, without those of a schedule."""
    names = {each["id"]: each["name"] for each in place.all("deployments")}
    runs: dict[str, list[dict[str, Any]]] = {}
    for run in place.all("flow_runs"):
        if not run["auto_scheduled"]:
            runs.setdefault(names.get(run["deployment_id"], "none"), []).append(run)
    return runs


def _ended(runs: list[dict[str, Any]]) -> bool:
    return bool(runs) and all(run["state_type"] in every_deployment.ENDED for run in runs)
