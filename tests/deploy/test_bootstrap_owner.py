"""A server keeps the deployments of its owner: another pipeline or checkout does not retarget them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from ai_workflow.storage.store import Store
from ai_workflow.telemetry.journal import Journal
from tests import prefect_retry, services
from tests.deploy import every_deployment
from tests.deploy.deploying_project import Place
from tests.deploy.every_deployment import Deployed
from tests.flows.workspace import ROOT, Workplace

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]
FIRST = {
    "pipeline": "beans", "task": "regression", "target": "y", "source": {"kind": "csv", "path": "beans.csv"},
    "evaluate": {"metric": "mae"},
}  # fmt: skip


def project(folder: Path) -> Path:
    """Furnish a folder with the flows of this project and two pipelines."""
    folder.mkdir()
    for name in ("flows", "config"):
        (folder / name).symlink_to(ROOT / name)
    shutil.copy(ROOT / "prefect.yaml", folder)
    for name in ("beans", "peas"):
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(FIRST | {"pipeline": name}))
    return folder


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A project folder, and a server where only `prefect deploy --all` has been run."""
    folder = project(tmp_path_factory.mktemp("projects") / "mine")
    with (
        services.prefect_server(tmp_path_factory.mktemp("server")) as server,
        prefect_retry.client(server.api_url) as api,
    ):
        found = Place(folder, api)
        for arguments in (("work-pool", "create", "ai-workflow", "--type", "process"), ("deploy", "--all")):
            done = found.python("prefect", "--no-prompt", *arguments)
            assert done.returncode == 0, done.stdout + done.stderr
        yield found


def state(place: Place) -> dict[str, Any]:
    """Return everything of the server that bootstrap writes."""
    kinds = ("deployments", "automations", "block_documents", "variables", "work_pools")
    found: dict[str, Any] = {kind: sorted(place.all(kind), key=str) for kind in kinds}
    for one in (*found["deployments"], *found["work_pools"]):
        # What the scheduler and the workers change.
        for key in ("updated", "status", "last_polled"):
            one.pop(key, None)
    return found


def queues(place: Place) -> dict[str, int]:
    """Return the priority of each queue."""
    found = place.api.post("/work_pools/ai-workflow/queues/filter", json={}).json()
    return {one["name"]: one["priority"] for one in found}


def test_relative_store_is_rejected_for_git_deployment(place: Place) -> None:
    before = state(place)
    for root in ("./var", "var", "file://var"):
        said = place.bootstrapped("prefect.yaml", "--git", "https://git.example.com/mine.git", AIW_STORE=root)
        assert said.code == 2
        for part in (f"store.root is '{root}'", "AIW_STORE", "/var/lib/ai-workflow", "Nothing was deployed"):
            assert part in said.err
    assert state(place) == before


def test_relative_store_is_rejected_for_custom_pull_steps(place: Place) -> None:
    clone = {"prefect.deployments.steps.git_clone": {"repository": "https://git.example.com/mine.git"}}
    entry = {"name": "own-clone", "entrypoint": "flows/drill.py:drill", "work_pool": {"name": "ai-workflow"}}
    (place.folder / "own.yaml").write_text(yaml.safe_dump({"deployments": [entry | {"pull": [clone]}]}))
    said = place.bootstrapped("own.yaml", AIW_STORE="./var")
    assert said.code == 2
    assert "drill/own-clone" in said.err


def test_bootstrap_repairs_reversed_work_queue_priorities(place: Place) -> None:
    before = queues(place)
    assert before["first"] > before["later"], "prefect deploy makes them in another order now"
    done = place.bootstrap("--pipeline", "beans.yaml", "--environment", "production")
    after = queues(place)
    assert len(set(after.values())) == len(after)
    assert after["first"] < after["soon"] < after["later"] < after["default"]
    assert any(line.startswith("work queue ai-workflow/first: priority") for line in done)
    assert place.bootstrap("--pipeline", "beans.yaml", "--environment", "production") == ["nothing changed"]


def test_correctly_ordered_queue_priorities_are_kept(place: Place) -> None:
    listed = place.api.post("/work_pools/ai-workflow/queues/filter", json={}).json()
    for name, priority in (("later", 40), ("soon", 30), ("first", 20)):
        [one] = [one for one in listed if one["name"] == name]
        place.api.patch(f"/work_queues/{one['id']}", json={"priority": priority}).raise_for_status()
    before = queues(place)
    assert place.bootstrap("--pipeline", "beans.yaml", "--environment", "production") == ["nothing changed"]
    assert queues(place) == before


def test_different_pipeline_is_rejected_before_writes(place: Place) -> None:
    before = state(place)
    for more in ((), ("--prune",)):
        said = place.bootstrapped("prefect.yaml", "--pipeline", "peas.yaml", "--environment", "production", *more)
        assert (said.code, said.out) == (2, [])
        for part in (
            "pipeline 'peas', environment 'production'",
            "pipeline 'beans', environment 'production'",
            str(place.folder),
            "--take-over",
            "TAKE_OVER=1",
        ):
            assert part in said.err
    said = place.bootstrapped("prefect.yaml", "--environment", "development", "--exclusive")
    assert said.code == 2
    assert "pipeline 'beans', environment 'production'" in said.err
    assert state(place) == before


def test_different_checkout_is_rejected_despite_other_deployment_names(place: Place) -> None:
    """Automations and blocks have one owner as well, whatever the deployments are named."""
    other = project(place.folder.parent / "other")
    entry = {"name": "their-drill", "entrypoint": "flows/drill.py:drill", "work_pool": {"name": "ai-workflow"}}
    (other / "prefect.yaml").write_text(yaml.safe_dump({"deployments": [entry]}))
    before = state(place)
    arguments = ("--pipeline", "beans.yaml", "--environment", "production")
    said = Place(other, place.api).bootstrapped("prefect.yaml", *arguments)
    assert said.code == 2
    assert str(other) in said.err
    assert str(place.folder) in said.err
    assert state(place) == before


def test_prune_after_take_over_keeps_previous_owner_deployments(place: Place) -> None:
    other = Place(place.folder.parent / "other", place.api)
    before = {one["name"]: one["pull_steps"] for one in place.all("deployments")}
    done = other.bootstrap("--take-over", "--prune")
    assert any(line.startswith("owner: pipeline 'sample'") and str(place.folder) in line for line in done)
    after = {one["name"]: one["pull_steps"] for one in place.all("deployments")}
    assert {name: after.get(name) for name in before} == before
    assert "their-drill" in after
    assert other.bootstrapped("prefect.yaml").out == ["nothing changed"]

    arguments = ("--pipeline", "beans.yaml", "--environment", "production")
    refused = place.bootstrapped("prefect.yaml", *arguments, "--exclusive")
    assert str(other.folder) in refused.err
    back = place.bootstrap(*arguments, "--take-over", "--prune")
    assert not any(line.startswith("deployment drill/their-drill") for line in back)
    assert place.bootstrap(*arguments) == ["nothing changed"]
    assert "their-drill" in {one["name"] for one in place.all("deployments")}


def test_unrecorded_deployments_of_other_project_are_not_taken_over(place: Place) -> None:
    """As an earlier version, or `prefect deploy --all` of another checkout, has left them."""
    [record] = [one for one in place.all("variables") if one["name"] == "ai_workflow_owner"]
    place.api.delete(f"/variables/{record['id']}").raise_for_status()
    other = project(place.folder.parent / "third")
    arguments = ("--pipeline", "beans.yaml", "--environment", "production")
    said = Place(other, place.api).bootstrapped("prefect.yaml", *arguments)
    assert said.code == 2
    assert str(place.folder) in said.err
    said = place.bootstrapped("prefect.yaml", "--pipeline", "peas.yaml", "--environment", "production")
    assert said.code == 2
    assert "beans.yaml" in said.err
    assert place.bootstrap(*arguments) == [f"owner: pipeline 'beans', environment 'production', project {place.folder}"]


def test_run_rejects_store_inside_temporary_clone(place: Place) -> None:
    """The store of the worker is relative, whatever that of bootstrap was."""
    deployed = Deployed(place.api)
    deployed.pause_schedules()
    steps = [{"prefect.deployments.steps.run_shell_script": {"script": f"cp -rL {ROOT}/flows {ROOT}/config ."}}]
    entry = {
        "name": "copied", "entrypoint": "flows/training.py:training", "pull": steps, "tags": ["ai-workflow"],
        "work_pool": {"name": "ai-workflow"},
    }  # fmt: skip
    (place.folder / "copied.yaml").write_text(yaml.safe_dump({"deployments": [entry]}))
    place.bootstrapped("copied.yaml", "--pipeline", "beans.yaml", "--environment", "production")
    worker = every_deployment.worker(
        every_deployment.furnish(Workplace(place.folder)), PYTHONPATH=str(ROOT / "src"), AIW_STORE="./var"
    )
    try:
        run = deployed.start("copied", environment="development", config=None)
        assert deployed.ended(run).startswith("FAILED: store.root is './var'"), worker.output()[-3000:]
    finally:
        worker.kill()
    assert "which Prefect deletes after this run" in worker.output()
    assert "AIW_STORE" in worker.output()
    assert Journal(Store(place.folder / "var")).trace_ids() == []
