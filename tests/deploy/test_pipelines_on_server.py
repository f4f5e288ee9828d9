"""Two pipelines of a project on one server: deployed once, and a breach of each starts a training of its own."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import httpx
import pytest

from ai_workflow.registry.registry import Registry
from ai_workflow.storage.store import Store
from tests import prefect_retry, services
from tests.deploy import every_deployment
from tests.deploy.deploying_project import PIPELINE, Place, furnish
from tests.flows.prefect_worker import Worker
from tests.flows.workspace import Workplace
from tests.patience import PATIENCE

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]
NAMES = ("credit", "sales")
# Without schedules, nothing runs but what a test starts.
QUIET = "deployments: {evaluation: {interval: null}, promotion: {interval: null}, retention: {cron: null}}\n"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A project with two pipelines, and a Prefect server."""
    folder = furnish(tmp_path_factory.mktemp("project"))
    for name in NAMES:
        path = folder / "pipelines" / name / "pipeline.yaml"
        path.parent.mkdir(parents=True)
        path.write_text(PIPELINE.format(name) + QUIET)
    with (
        services.prefect_server(tmp_path_factory.mktemp("server")) as server,
        prefect_retry.client(server.api_url) as api,
    ):
        yield Place(folder, api)


@pytest.fixture(scope="module")
def deployed(place: Place) -> list[str]:
    """The changes of the first deployment."""
    _command(place, "pipeline", "sync")
    return _command(place, "deploy").splitlines()


def _command(place: Place, *arguments: str) -> str:
    environment = Workplace(place.folder).environment()
    done = subprocess.run(
        [sys.executable, "-m", "ai_workflow", *arguments], cwd=place.folder, env=environment, capture_output=True,
        text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _breach(api: httpx.Client, pipeline: str) -> None:
    resource = {
        "prefect.resource.id": f"slo.{pipeline}",
        "ai-workflow.slo": "accuracy",
        "ai-workflow.pipeline": pipeline,
    }
    event = {"id": str(uuid4()), "occurred": datetime.now(UTC).isoformat(), "event": "ai-workflow.slo.breached"}
    api.post("/events", json=[event | {"resource": resource}]).raise_for_status()


def _trainings(place: Place) -> dict[str, list[dict[str, Any]]]:
    names = {each["id"]: each["name"] for each in place.all("deployments")}
    runs = [run for run in place.all("flow_runs") if run["name"].startswith("training") or "reaction" in run["tags"]]
    return {name: [run for run in runs if names.get(run["deployment_id"]) == name] for name in ("training", *NAMES)}


def test_each_pipeline_is_deployed_once(place: Place, deployed: list[str]) -> None:
    flows = ("training", "scoring", "evaluation", "promotion", "retention")
    expected = {f"deployment {flow}/{name}: made" for flow in flows for name in NAMES}
    assert expected | {"deployment recovery/recovery: made", "deployment reaction/reaction: made"} <= set(deployed)
    assert _command(place, "deploy") == "nothing changed\n"


@pytest.mark.soak
def test_breach_of_each_pipeline_starts_its_own_training(place: Place, deployed: list[str]) -> None:
    worker: Worker = every_deployment.worker(Workplace(place.folder))
    try:
        for name in NAMES:
            _breach(place.api, name)
        _breach(place.api, "unknown")
        until = time.monotonic() + PATIENCE
        while not all(_ended(_trainings(place)[name]) for name in NAMES) or not _is_withheld(place):
            assert time.monotonic() < until, worker.output()[-5000:]
            time.sleep(1)
    finally:
        worker.kill()
    trainings = _trainings(place)
    for name in NAMES:
        [run] = trainings[name]
        assert run["state_type"] == "COMPLETED", worker.output()[-5000:]
        assert f"pipeline:{name}" in run["tags"]
        assert Registry(Store(place.folder / "var"), f"models/development/{name}").aliases()["latest"] == "model_v1.0"
    assert not trainings["training"]


def _ended(runs: list[dict[str, Any]]) -> bool:
    return bool(runs) and all(run["state_type"] in every_deployment.ENDED for run in runs)


def _is_withheld(place: Place) -> bool:
    """Return whether the breach of a pipeline without deployments was reported."""
    return "nothing was started for the breach of the pipeline unknown" in str(place.all("logs"))


@pytest.mark.soak
def test_pipeline_removed_from_the_project_is_pruned(place: Place, deployed: list[str]) -> None:
    (place.folder / "pipelines" / "sales").rename(place.folder / "sales.removed")
    _command(place, "pipeline", "sync")
    assert "deployment training/sales: removed" in _command(place, "deploy", "--prune")
    names = {each["name"] for each in place.all("deployments")}
    assert "credit" in names
    assert "sales" not in names
